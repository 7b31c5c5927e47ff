"""Names as they come in the world, and what our own queries call them."""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence

from pipelines.config.errors import EvergreenError
from pipelines.sanitize import visible

SHOWN = 20  # columns that are listed where none is near
LONGEST = 50  # bytes: Postgres cuts names at 63, and suffixes are still to come
# columns that later stages put beside ours, and those that our queries make
TAKEN = {"at", "draw", "fold", "available_at", "observation_date", "row_id", "score", "score_day", "snapshot_date"}


def tidy(name: str) -> str:
    """Lower-case letters, digits and `_` only, of any script: "Total Charges (%)" -> total_charges."""
    text = unicodedata.normalize("NFKC", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()
    kept = "".join(sign if unicodedata.category(sign)[0] in "LNM" else "_" for sign in text)
    kept = re.sub("_+", "_", kept).strip("_").encode()[:LONGEST].decode(errors="ignore").strip("_")
    if not kept:
        return "column"
    return kept if unicodedata.category(kept[0])[0] == "L" else f"n_{kept}"


def tidy_all(names: Sequence[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """Our name of each name, each one once: those that would be alike get a number, in their order."""
    found: dict[str, str] = {}
    used = {*TAKEN, *taken}
    for name in names:
        first = tidy(name)
        candidate, number = (f"{first}_" if first in TAKEN or first.startswith("score_") else first), 2
        while candidate in used:
            candidate, number = f"{first}_{number}", number + 1
        found[name] = candidate
        used.add(candidate)
    return found


def find(wanted: str, columns: Sequence[str], option: str) -> str:
    """The column that is meant: of that very name, or the only one that is so but for its case.

    Raises:
        EvergreenError: there is none; the nearest are named, or what there is.
    """
    if wanted in columns:
        return wanted
    alike = [name for name in columns if name.casefold() == wanted.casefold()]
    if len(alike) == 1:
        return alike[0]
    near = alike or difflib.get_close_matches(wanted, columns, n=3)
    shown = ", ".join(map(quoted, near or columns[:SHOWN]))
    more = f" and {len(columns) - SHOWN:,} more" if len(columns) > SHOWN else ""
    hint = f" Near it: {shown}." if near else f" It has {shown}{more}."
    raise EvergreenError(f"{option} {wanted!r}: the table has no such column.{hint}")


def listed(option: str) -> list[str]:
    """Names in an option such as `A,B`; one that holds a comma stands in double quotes."""
    return [name.strip() for name in next(csv.reader([option], skipinitialspace=True), []) if name.strip()]


def quoted(name: str) -> str:
    """A source's name for people and comments: on one line."""
    return f'"{visible(name)}"'
