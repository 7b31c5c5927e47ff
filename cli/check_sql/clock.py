"""Queries that ask what day it is: found in their text, and run as if it were another day."""

from __future__ import annotations

import re
from datetime import date

from pipelines.data.postgres import QUOTED

ASKS = re.compile(
    r"""(?P<typed>\b(?:date|timestamp|timestamptz)\s+'(?:now|today|yesterday|tomorrow)'
        |'(?:now|today|yesterday|tomorrow)'\s*::\s*(?:date|timestamptz|timestamp)\b
        |\bcast\s*\(\s*'(?:now|today|yesterday|tomorrow)'\s+as\s+(?:date|timestamptz|timestamp)\s*\))
    """
    + rf"|(?P<quoted>{QUOTED})"
    + r"""|(?P<day>\bcurrent_date\b)
        |(?P<moment>\b(?:current_timestamp|localtimestamp)\b(?:\s*\(\s*\d\s*\))?
            |(?<![\w.])(?:pg_catalog\s*\.\s*)?(?:now|transaction_timestamp|statement_timestamp|clock_timestamp)\s*\(\s*\))""",
    re.IGNORECASE | re.VERBOSE,
)


def asked(statement: str) -> list[str]:
    """What the statement calls to know the day, as it is written, each once."""
    found = [one[0] for one in ASKS.finditer(statement) if one["quoted"] is None]
    return list(dict.fromkeys(found))


def stopped(statement: str, today: date) -> str:
    """The statement with every such call replaced by a fixed day, at noon where it is a moment."""

    def fixed(found: re.Match[str]) -> str:
        if found["quoted"] is not None:
            return found[0]
        if found["moment"] is None:
            return f"(date '{today}')"
        kind = "timestamp" if "local" in found[0].lower() else "timestamptz"
        return f"({kind} '{today} 12:00+00')"

    return ASKS.sub(fixed, statement)
