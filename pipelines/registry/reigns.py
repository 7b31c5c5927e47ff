"""Who was champion when: the ledger's promotions as reigns, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipelines.data import postgres
from pipelines.registry.schema import query

ROLLED_BACK = "rolled back"  # the finding of a verdict that goes back


@dataclass(frozen=True, kw_only=True)
class Reign:
    """A stretch during which one version was the champion; `until` is None for the one that is."""

    epoch: int
    version: int
    from_version: int | None
    actor: str
    reason: str
    finding: str | None
    since: datetime
    until: datetime | None


def read(url: str, model: str) -> list[Reign]:
    """Every reign, oldest first: in the order of epochs, whatever the clocks said."""
    with postgres.connect(url) as connection:
        return [Reign(**row) for row in query(connection, "reigns", model=model)]


def at(reigns: Sequence[Reign], moment: datetime) -> Reign | None:
    """Who was champion at a moment; where a clock was set back, the one of the higher epoch."""
    return next((reign for reign in reversed(reigns) if reign.since <= moment), None)


def line_of(reigns: Sequence[Reign]) -> list[int]:
    """The champions that one goes back through, the reigning one last. Who was rolled back is not among them.

    v1, v2 and v3 were promoted and v3 rolled back: v1, v2. Of v2, which reigns again, the one before is v1.
    """
    line: list[int] = []
    for reign in reigns:
        if reign.finding == ROLLED_BACK and reign.version in line:
            del line[len(line) - line[::-1].index(reign.version) :]
        else:
            line.append(reign.version)
    return line
