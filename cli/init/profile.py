"""What is in the source, found out by Postgres: counts of every column, over all rows or a sample of bounded size.

No row leaves the database; of values only those leave that stand often, and the ends of numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

from cli.init.source import Reader, Relation
from pipelines.data.postgres import identifier, literal

SAMPLE = 100_000  # rows behind the counts of columns
MOST_VALUES = 12  # of a target
TOGETHER = 25  # columns that one statement counts: each looks them up in rows that are the longer to take apart
MISSING = ("", "?", "-", "--", ".", "na", "n/a", "#n/a", "<na>", "nan", "null", "(null)", "missing", "unknown", "\\n")
NUMBER = r"^[+-]?([0-9]{1,30}[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,2})?$"
CODE = r"^[+-]?0[0-9]|^[+-]?[0-9]{17}|^[+]|^[0-9]+[eE][0-9]+$"  # a number would not print back so
DATE = r"^(?!0000)[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]+)?)?)?$"
ZERO_DATE = r"^0000-00-00([ T]00:00(:00([.]0+)?)?)?$"
OTHER_DATE = r"^[0-9]{1,2}[./-][0-9]{1,2}[./-]([0-9]{2}|[0-9]{4})( .*)?$"
OTHER_NUMBER = r"^[^0-9a-zA-Z]{0,3}[0-9]{1,3}([., ' ][0-9]{3})*([.,][0-9]+)? ?[%€$£]?$"


@dataclass(frozen=True)
class Column:
    """A column of the source. Counts are of the rows looked at.

    filled: not NULL. missing: of those, texts that mean nothing; spellings: how they are written, with their rows. nones:
    the word none, which may be a category. numbers, codes, dates, other_dates: texts that look like one; number_like: like a
    number, as Postgres reads it or not. doubled: texts that are the same number as another text. zero_dates: 0000-00-00, as
    they are written, with their rows. fractions: numbers that are not whole. later: dates after the row's own day. distinct:
    of values.
    """

    name: str
    type: str
    kind: str
    rows: int = 0
    filled: int = 0
    distinct: int = 0
    missing: int = 0
    spellings: Mapping[str, int] = field(default_factory=dict)
    zero_dates: Mapping[str, int] = field(default_factory=dict)
    nones: int = 0
    numbers: int = 0
    codes: int = 0
    dates: int = 0
    other_dates: int = 0
    number_like: int = 0
    doubled: int = 0
    longest: int = 0
    fractions: int = 0
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

    def keeping(self) -> Column:
        """The same column, whose NA, unknown and the like are values; a blank is none all the same."""
        blanks = {said: rows for said, rows in self.spellings.items() if not said}
        return replace(self, spellings=blanks, missing=sum(blanks.values()))

    @property
    def is_free_text(self) -> bool:
        """Whether any text can stand in it, an empty one among them: no uuid and no enum."""
        return self.type.startswith(("text", "character"))

    @property
    def is_number_as_text(self) -> bool:
        return self.kind == "text" and 0 < self.numbers == self.known - self.nones and not self.codes + self.doubled

    @property
    def is_date_as_text(self) -> bool:
        return self.kind == "text" and 0 < self.dates == self.known - sum(self.zero_dates.values())


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


def profile(
    reader: Reader,
    relation: Relation,
    columns: Sequence[Column],
    day: str | None,
    most: int = SAMPLE,
    progress: Callable[[str], None] = lambda _: None,
) -> Profile:
    """Counts of these columns.

    Args:
        columns: by name, type and kind.
        day: the expression of a row's own day, where there is one.
        most: rows that are looked at; about as many of a larger table, the same for all columns.
        progress: of a wide table, how many columns are counted.
    """
    (rows,) = reader.row(f"select count(*) from {relation.statement} as source")
    if not rows:
        return Profile(0, 0, tuple(columns), reader.reserved())
    full: list[Column] = []
    looked_at = 0
    for start in range(0, len(columns), TOGETHER):
        some = columns[start : start + TOGETHER]
        reader.row("select setseed(0.5)")
        found = dict(reader.rows(_question(relation, some, day, sampling(relation, rows, most))))
        looked_at = found.pop(-1)["rows"]
        full += [_column(column, found.get(number), looked_at) for number, column in enumerate(some)]
        if len(columns) > TOGETHER and (len(full) % 100 == 0 or len(full) == len(columns)):
            progress(f"{len(full):,} of {len(columns):,} columns of the source are counted.")
    return Profile(rows, looked_at, tuple(full), reader.reserved())


def _question(relation: Relation, columns: Sequence[Column], day: str | None, sampled: str) -> str:
    """One statement that reads the rows once: a line -1 with their number, and a line a column, each as JSON."""
    names = [f"{_value(column)} as c{number}" for number, column in enumerate(columns)]
    parts = [
        f"select {number}, ({_facts(column, f'c{number}', day is not None)})"
        for number, column in enumerate(columns)
        if column.kind != "other"
    ]
    return (
        f"with sample as materialized (select row_number() over () as place, {day or 'null'} as day, {', '.join(names)}"
        f" from {relation.statement} as source{sampled})"
        f" select -1, json_build_object('rows', count(*)) from sample union all {' union all '.join(parts) or 'select 0, null'}"
    )


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
    found["quartiles"] = tuple(found.get("quartiles", ()))
    for name in ("spellings", "zero_dates"):  # the same word may have blanks around it in other rows
        said = found.get(name, ())
        found[name] = {word: sum(rows for other, rows in said if other == word) for word in sorted({word for word, _ in said})}
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
        yield "spellings", f"json_agg(json_build_array(trim(v), n)) filter (where {bare} in ({tokens}))"
        yield "zero_dates", f"json_agg(json_build_array(trim(v), n)) filter (where trim(v) ~ {literal(ZERO_DATE)})"
        yield "nones", f"sum(n) filter (where {bare} = 'none')"
        yield "longest", "max(length(v))"
        yield "dates", f"sum(n) filter (where {_is_day('trim(v)')})"
        number = f"case when trim(v) ~ {literal(NUMBER)} then trim(v)"
        yield "doubled", f"count(distinct {number} end) - count(distinct {number}::numeric end)"
        either = f"({NUMBER})|({OTHER_NUMBER})"
        patterns = {"numbers": NUMBER, "codes": CODE, "other_dates": OTHER_DATE, "number_like": either}
        for key, pattern in patterns.items():
            yield key, f"sum(n) filter (where trim(v) ~ {literal(pattern)} and {bare} not in ({tokens}))"
        number = f"case when trim(v) ~ {literal(NUMBER)} then trim(v)::numeric end"
        yield "lowest", f"min({number})::text"
        yield "highest", f"max({number})::text"
        yield "fractions", f"sum(n) filter (where {number} <> trunc({number}))"
    elif column.kind in ("number", "date", "timestamp"):
        yield "lowest", "min(v)::text"
        yield "highest", "max(v)::text"
        if column.kind != "number":
            yield "not_finite", "sum(n) filter (where not isfinite(v))"
        elif column.type in ("real", "double precision", "numeric"):
            yield "fractions", "sum(n) filter (where v <> trunc(v))"
            yield "not_finite", "sum(n) filter (where v::text in ('NaN', 'Infinity', '-Infinity'))"


def _is_day(text: str) -> str:
    """Whether a text is a day of the calendar, such as no 2023-02-29, with or without a time."""
    month = f"substr({text}, 6, 2)::int between 1 and 12 and substr({text}, 9, 2)::int between 1"
    last = f"extract(day from (substr({text}, 1, 7) || '-01')::date + interval '1 month' - interval '1 day')"
    in_month = f"case when {month} and 31 then substr({text}, 9, 2)::int <= {last} else false end"
    return f"case when {text} ~ {literal(DATE)} then {in_month} else false end"
