"""Who was champion when: the ledger's promotions as reigns, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipelines.data import postgres
from pipelines.registry.schema import query

ROLLED_BACK: Literal["rolled back"] = "rolled back"  # the finding of a verdict that goes back


@dataclass(frozen=True, kw_only=True)
class Tenure:
    """A stretch during which one version was the champion; `until` is None for the one that is."""

    revision: int
    version: int
    from_version: int | None
    actor: str
    reason: str
    finding: str | None
    since: datetime
    until: datetime | None


def read(url: str, model: str) -> list[Tenure]:
    """Every reign, oldest first: in the order of revisions, whatever the clocks said."""
    with postgres.connect(url) as connection:
        return [Tenure(**row) for row in query(connection, "tenures", model=model)]


def at(tenures: Sequence[Tenure], moment: datetime) -> Tenure | None:
    """Who was champion at a moment; where a clock was set back, the one of the higher revision."""
    return next((tenure for tenure in reversed(tenures) if tenure.since <= moment), None)


def line_of(tenures: Sequence[Tenure]) -> list[int]:
    """The champions that one goes back through, the reigning one last. Who was rolled back is not among them.

    v1, v2 and v3 were promoted and v3 rolled back: v1, v2. Of v2, which reigns again, the one before is v1.
    """
    line: list[int] = []
    for tenure in tenures:
        if tenure.finding == ROLLED_BACK and tenure.version in line:
            del line[len(line) - line[::-1].index(tenure.version) :]
        else:
            line.append(tenure.version)
    return line
