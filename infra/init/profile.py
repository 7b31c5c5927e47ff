"""What is in the source, found out by Postgres: counts of every column, over all rows or a sample of bounded size.

No row leaves the database; of values only those leave that stand often, and the ends of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from infra.init.source import Reader, Relation
from pipelines.postgres import identifier, literal

SAMPLE = 100_000  # rows behind the counts of columns
MOST_VALUES = 12  # of a target
MISSING = ("", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "missing", "unknown", "\\n")
NUMBER = r"^[+-]?([0-9]{1,30}[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$"
CODE = r"^[+-]?0[0-9]|^[+-]?[0-9]{17}"  # digits that a number would lose
DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?$"
OTHER_DATE = r"^[0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})( .*)?$"
OTHER_NUMBER = r"^[^0-9a-zA-Z]{0,3}[0-9]{1,3}([., ' ][0-9]{3})*([.,][0-9]+)? ?[%€$£]?$"


@dataclass(frozen=True)
class Column:
    """A column of the source. Counts are of the rows looked at.

    filled: not NULL. missing: of those, texts that mean nothing; spellings: how they are written. nones: the word none,
    which may be a category. numbers, codes, dates,
    other_dates, other_numbers: texts that look like one. later: dates after the row's own day. distinct: of values.
    """

    name: str
    type: str
    kind: str
    rows: int = 0
    filled: int = 0
    distinct: int = 0
    missing: int = 0
    spellings: tuple[str, ...] = ()
    nones: int = 0
    numbers: int = 0
    codes: int = 0
    dates: int = 0
    other_dates: int = 0
    other_numbers: int = 0
    longest: int = 0
    not_finite: int = 0
    later: int = 0
    lowest: str | None = None
    highest: str | None = None
    quartiles: tuple[float, ...] = ()
    digest: str = ""

    @property
    def known(self) -> int:
        """Rows with a value that means something."""
        return self.filled - self.missing

    @property
    def is_free_text(self) -> bool:
        """Whether any text can stand in it, an empty one among them: no uuid and no enum."""
        return self.type.startswith(("text", "character"))

    @property
    def is_number_as_text(self) -> bool:
        return self.kind == "text" and 0 < self.numbers == self.known - self.nones and not self.codes

    @property
    def is_date_as_text(self) -> bool:
        return self.kind == "text" and self.known > 0 and self.dates == self.known


@dataclass(frozen=True)
class Clock:
    """The time column, over all rows; days beyond today are `future`, rows without a day `absent`."""

    first: date | None
    last: date | None
    days: int
    absent: int
    future: int


@dataclass(frozen=True)
class Profile:
    """A source: all rows counted, those looked at, its columns, and words that Postgres keeps for itself."""

    rows: int
    looked_at: int
    columns: tuple[Column, ...]
    reserved: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def sampled(self) -> bool:
        return self.looked_at < self.rows

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


def profile(reader: Reader, relation: Relation, columns: Sequence[Column], day: str | None, most: int = SAMPLE) -> Profile:
    """Counts of these columns.

    Args:
        columns: by name, type and kind.
        day: the expression of a row's own day, where there is one.
        most: rows that are looked at; about as many of a larger table.
    """
    (rows,) = reader.row(f"select count(*) from {relation.statement} as source")
    if not rows:
        return Profile(0, 0, tuple(columns), reader.reserved())
    names = [f"{_value(column)} as c{number}" for number, column in enumerate(columns)]
    parts = [
        f"select {number}, ({_facts(column, f'c{number}', day is not None)})"
        for number, column in enumerate(columns)
        if column.kind != "other"
    ]
    statement = (
        f"with sample as materialized (select row_number() over () as place, {day or 'null'} as day, {', '.join(names)}"
        f" from {relation.statement} as source{sampling(relation, rows, most)})"
        f" select -1, json_build_object('rows', count(*)) from sample union all {' union all '.join(parts) or 'select 0, null'}"
    )
    reader.row("select setseed(0.5)")
    found = dict(reader.rows(statement))
    looked_at = found.pop(-1)["rows"]
    full = tuple(_column(column, found.get(number), looked_at) for number, column in enumerate(columns))
    return Profile(rows, looked_at, full, reader.reserved())


def sampling(relation: Relation, rows: int, most: int) -> str:
    """What picks about `most` of `rows` behind `from ... as source`: pages where Postgres can, else rows."""
    if rows <= most:
        return ""
    share = most / rows
    return f" tablesample system ({100 * share:.6f}) repeatable (1)" if relation.samples else f" where random() < {share:.9f}"


def values(reader: Reader, relation: Relation, expression: str) -> list[tuple[str | None, int]]:
    """Values of an expression as text with their rows, the most frequent first: NULL too, and at most MOST_VALUES of them."""
    grouped = f"select {expression} as v, count(*) as n from {relation.statement} as source group by 1"  # 1.0 and 1.00 are one
    return reader.rows(f"select v::text, n from ({grouped}) as grouped order by n desc, 1 limit {MOST_VALUES}")


def clock(reader: Reader, relation: Relation, day: str) -> Clock:
    """Of a row's own day, over all rows."""
    return Clock(
        *reader.row(
            f"select min({day}) filter (where isfinite({day})), max({day}) filter (where isfinite({day})),"
            f" count(distinct {day}), count(*) - count({day}), count(*) filter (where {day} > current_date)"
            f" from {relation.statement} as source"
        )
    )


def keys(reader: Reader, relation: Relation, key: Sequence[str]) -> tuple[int, int, int]:
    """Rows whose key has no NULL, different keys among them, and different first parts of the key."""
    whole, present = f"row({', '.join(key)})", " and ".join(f"{part} is not null" for part in key)
    return reader.row(
        f"select count(*), count(distinct {whole}), count(distinct {key[0]})"
        f" from {relation.statement} as source where {present}"
    )


def _column(column: Column, facts: dict[str, Any] | None, rows: int) -> Column:
    found = {name: value for name, value in (facts or {}).items() if value is not None}
    for name in ("spellings", "quartiles"):
        found[name] = tuple(found.get(name, ()))
    return Column(column.name, column.type, column.kind, rows, **found)


def _facts(column: Column, name: str, has_day: bool) -> str:
    """The subquery that gives one column's counts as JSON, by grouping its values once."""
    pairs = {"filled": "sum(n) filter (where v is not null)", "distinct": "count(v)"}
    pairs |= dict(_of_kind(column))
    if column.kind in ("date", "timestamp") and has_day:
        pairs["later"] = f"(select count(*) from sample where {name}::date > day)"
    if column.kind in ("number", "text"):
        number = (
            f"{name}::float8" if column.kind == "number" else f"case when trim({name}) ~ '{NUMBER}' then {name}::float8 end"
        )
        pairs["quartiles"] = (
            "(select array(select q from unnest((select percentile_disc(array[0.25, 0.5, 0.75]) within group"
            f" (order by {number}) from sample)) as q where q between -1e300 and 1e300))"
        )
    # where values stand, and not only which: equal for two columns that are the same
    pairs["digest"] = f"(select md5(sum(hashtextextended(coalesce({name}::text, chr(1)), place))::text) from sample)"
    listed = ", ".join(f"'{key}', {value}" for key, value in pairs.items())
    grouped = f"select {name} as v, count(*) as n from sample group by 1"
    return f"select json_build_object({listed}) from ({grouped}) as g"


def _value(column: Column) -> str:
    """A column as it is counted: what Postgres can group, order and read patterns in."""
    cast = {"text": "::text", "duration": "::text", "number": "::numeric" if column.type == "money" else ""}.get(
        column.kind, ""
    )
    return f"source.{identifier(column.name)}{cast}"


def _of_kind(column: Column) -> Iterator[tuple[str, str]]:
    if column.kind == "text":
        tokens, bare = ", ".join(map(literal, MISSING)), "lower(trim(v))"
        yield "missing", f"sum(n) filter (where {bare} in ({tokens}))"
        yield "spellings", f"array_agg(distinct trim(v)) filter (where {bare} in ({tokens}))"
        yield "nones", f"sum(n) filter (where {bare} = 'none')"
        yield "longest", "max(length(v))"
        patterns = {"numbers": NUMBER, "codes": CODE, "dates": DATE, "other_dates": OTHER_DATE, "other_numbers": OTHER_NUMBER}
        for key, pattern in patterns.items():
            yield key, f"sum(n) filter (where trim(v) ~ {literal(pattern)} and {bare} not in ({tokens}))"
    elif column.kind in ("number", "date", "timestamp"):
        yield "lowest", "min(v)::text"
        yield "highest", "max(v)::text"
        if column.kind != "number":
            yield "not_finite", "sum(n) filter (where not isfinite(v))"
        elif column.type in ("real", "double precision", "numeric"):
            yield "not_finite", "sum(n) filter (where v::text in ('NaN', 'Infinity', '-Infinity'))"
