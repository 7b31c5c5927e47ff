"""Two results in the scratch database, compared row by row and column by column; the rows stay there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

FLOAT_TOLERANCE = 1e-9  # relative: sums of floats depend on the order in which rows are met
FLOATS = {"double precision", "real"}
NO_EQUALITY = {"json", "xml", "point", "polygon"}


@dataclass(frozen=True)
class Change:
    """How one column differs. appears: is NULL in the first result, a value in the second; vanishes: the reverse."""

    rows: int
    appears: int
    vanishes: int


@dataclass(frozen=True)
class Difference:
    """Of two results, by their counts. rows: in both."""

    rows: int
    only_first: int
    only_second: int
    columns: dict[str, Change] = field(default_factory=dict)

    @property
    def is_none(self) -> bool:
        return not (self.only_first or self.only_second or self.columns)


def compare(scratch: psycopg.Connection, first: str, second: str, keys: Sequence[str], columns: Sequence[str]) -> Difference:
    """Count where two statements differ.

    Args:
        first, second: statements, with equal columns.
        keys: columns that name a row. Rows of one key are taken in the order of their content.
        columns: those that are compared.
    """
    types = {
        column.name: kind
        for column in scratch.execute(f"select * from ({first}) as one limit 0").description
        for (kind,) in [scratch.execute("select format_type(%s, null)", (column.type_code,)).fetchone()]
    }
    by = ", ".join(map(postgres.identifier, keys))
    numbered = f"select *, row_number() over (partition by {by} order by one::text) as evergreen_number from"
    counts = []
    for name in columns:
        one, other = (f"{side}.{postgres.identifier(name)}" for side in ("first", "second"))
        differs = f"in_both and {_differs(one, other, types[name])}"
        counts += [
            f"count(*) filter (where {differs})",
            f"count(*) filter (where {differs} and {one} is null)",
            f"count(*) filter (where {differs} and {other} is null)",
        ]
    statement = f"""
        with first as ({numbered} ({first}) as one), second as ({numbered} ({second}) as one)
        select
            count(*) filter (where in_both),
            count(*) filter (where second.evergreen_number is null),
            count(*) filter (where first.evergreen_number is null)
            {"".join(f", {count}" for count in counts)}
        from first
        full join second using ({by}, evergreen_number)
        cross join lateral (
            select first.evergreen_number is not null and second.evergreen_number is not null as in_both
        ) as found"""
    rows, only_first, only_second, *found = scratch.execute(statement).fetchone()
    changes = {name: Change(*found[3 * at : 3 * at + 3]) for at, name in enumerate(columns)}
    return Difference(rows, only_first, only_second, {name: change for name, change in changes.items() if change.rows})


def _differs(one: str, other: str, kind: str) -> str:
    if kind in NO_EQUALITY:
        return f"{one}::text is distinct from {other}::text"
    if kind in FLOATS:
        near = f"abs({one} - {other}) <= {FLOAT_TOLERANCE} * greatest(abs({one}), abs({other}))"
        return f"({one} is distinct from {other} and ({near}) is not true)"
    return f"{one} is distinct from {other}"
