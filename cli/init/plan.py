"""What is read of a source, and how: what the files will say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Literal

from cli.init.columns import Advice, Feature, LeftOut
from cli.init.names import quoted
from cli.init.source import Relation
from cli.init.target import Target
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import identifier

HISTORY = 1096  # days: three turns of the seasons, where the table goes back further
ROW_ID, SNAPSHOT = "row_id", "snapshot_date"


@dataclass(frozen=True)
class Entity:
    """Who a row is about. source: the column of its id; None where the key is a hash of the row's content."""

    name: str
    source: str | None
    adopted: bool = False  # nobody named it: it looks like an id
    is_text: bool = False

    @property
    def present(self) -> str:
        """The condition that a row has one: an empty text is none."""
        assert self.source is not None
        return identifier(self.source) + (" <> ''" if self.is_text else " is not null")


@dataclass(frozen=True)
class Time:
    """A row's own day. day: its expression; moment: the column, where that is a timestamp. whole_days: the newest day of
    the source counts, since it is a date and no moment."""

    source: str
    day: str
    moment: str | None
    grain: Literal["day", "month"]
    whole_days: bool
    first: date
    last: date
    future: bool
    everyone_daily: bool

    @property
    def watermark(self) -> date:
        return self.last if self.whole_days else self.last - timedelta(days=1)

    @property
    def history_days(self) -> int:
        return min((self.watermark - self.first).days + 1, HISTORY)


@dataclass(frozen=True)
class Plan:
    """What the files will say.

    row: what names a row where the entity has several and there is no time; None where the entity does, with its day.
    features: what the query returns beside keys and target, protected, personal and excluded columns among them; these are
    named by our names in `protected`, `personal` and `exclude`; `available_after` is not read. distinct: rows that repeat
    another as a whole are one.
    """

    name: str
    relation: Relation
    entity: Entity
    row: Entity | None
    target: Target
    target_name: str
    features: tuple[Feature, ...]
    left_out: tuple[LeftOut, ...]
    protected: tuple[str, ...]
    personal: tuple[str, ...]
    exclude: tuple[str, ...]
    available_after: tuple[str, ...]
    advice: tuple[Advice, ...]
    reserved: frozenset[str]
    time: Time | None = None
    horizon_days: int = 0
    distinct: bool = False
    timezone: str = "UTC"  # whose days moments fall into

    @property
    def key(self) -> Entity:
        """By what scores and outcomes are kept."""
        return self.row or self.entity

    @property
    def learnt(self) -> list[Feature]:
        """What a model sees."""
        hidden = {*self.personal, *self.exclude}
        return [feature for feature in self.features if feature.name not in hidden]

    def without(self, left_out: Sequence[LeftOut]) -> Plan:
        """The same plan with more columns left out."""
        gone = {one.source for one in left_out}
        kept = tuple(feature for feature in self.features if feature.source not in gone)
        check_something_is_left(replace(self, features=kept))
        return replace(self, features=kept, left_out=(*self.left_out, *left_out))


def check_something_is_left(plan: Plan) -> None:
    if not plan.learnt:
        reasons = "".join(f"\n  {quoted(one.source)}: {one.reason}" for one in plan.left_out[:20])
        raise EvergreenError(f"No column is left to learn from.{reasons}")
