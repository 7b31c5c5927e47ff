"""What becomes of each column: the expression that a model can learn from, or the reason why it is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

from cli.init.names import quoted, tidy
from cli.init.profile import DATE, NUMBER, Column
from pipelines.data.postgres import identifier, literal

ID_WORDS = {"id", "uuid", "guid", "key", "nr", "no", "number", "code", "index", "unnamed", "row", "serial", "account"}
LEAST_IDS = 20  # rows: of fewer nobody can tell
NEARLY_ALL = 0.98  # of the rows have a value, and one of their own
SURE_REPEATS = 7.0  # that chance would make: none of them has a probability of 1 in 1,000
LEAST_DIGITS = 6  # of numbers that are given out
LEAST_SPREAD = 0.35  # between quartiles, of the range: even numbers have a half, a bell of 2,000 rows a fifth
MOMENTS = (
    (19000101, 20991231),
    (900_000_000, 2_200_000_000),
    (900_000_000_000, 2_200_000_000_000),
)  # days, s and ms since 1970
MANY_CATEGORIES = 50  # features.max_categories of the template
UNIQUE = 0.9  # of the rows with a value: that many different texts are names or prose
MOST_GROUPS = 12  # of a protected number: more are put into bands
EPOCH = "date '2000-01-01'"


@dataclass(frozen=True)
class Feature:
    """A column of our queries.

    source: its name in the table. expression: over the source's columns. kind: number, text or boolean. nothing: texts
    that are read as NULL.
    """

    source: str
    name: str
    expression: str
    kind: str
    nothing: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """A column that is not read, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Advice:
    """Something for a person to check."""

    about: str
    message: str


def clean(column: Column, day: str | None = None, *, sampled: bool = False) -> tuple[str, str]:
    """Expression and kind of a column's values: what means nothing becomes NULL, numbers and dates in texts their own type.

    Args:
        day: expression of the row's own day, which dates are told from; without it they are told from 2000.
        sampled: not all rows were looked at, so a text that is no number becomes NULL instead of an error.
    """
    name = identifier(column.name)
    if column.kind == "boolean":
        return name, "boolean"
    if column.kind == "number":
        return _number(column, name), "number"
    if column.kind == "duration":
        return f"extract(epoch from {name})::float8", "number"
    if column.kind in ("date", "timestamp"):
        date = name if column.kind == "date" else f"{name}::date"
        return _days(f"case when isfinite({name}) then {date} end" if column.not_finite else date, day), "number"
    text = text_or_null(column)
    if column.is_number_as_text:
        return _guarded(text, name, sampled), "number"
    if column.is_date_as_text:
        return _days(day_of_text(column, sampled=sampled), day), "number"
    return text, "text"


def day_of_text(column: Column, *, sampled: bool = False) -> str:
    """A date that is written as a text; sampled: as of `clean`."""
    day = f"{_bracketed(text_or_null(column))}::date"
    return f"(case when trim({identifier(column.name)}) ~ {literal(DATE)} then {day} end)" if sampled else day


def text_or_null(column: Column) -> str:
    """A text without spaces around it, and without the ways to write that nothing is known."""
    name = identifier(column.name)
    bare = f"trim({name}{'' if column.type in ('text', 'character varying') else '::text'})"
    nothing = {*column.spellings} | ({"None", "none", "NONE"} if column.is_number_as_text and column.nones else set())
    nothing |= {*column.zero_dates} if column.is_date_as_text else set()
    if not nothing:
        return f"nullif({bare}, '')"
    if len(nothing) == 1:
        return f"nullif({bare}, {literal(*nothing)})"
    return f"case when {bare} not in ({', '.join(map(literal, sorted(nothing | {''})))}) then {bare} end"


def without_use(column: Column, seen: dict[str, str], row_count: int) -> str | None:
    """Why nothing can be learnt from a column, or nothing honest; None where something can.

    Args:
        seen: digest -> name of the columns before it.
        row_count: rows of the whole table.
    """
    if column.kind == "other":
        return f"of type {column.type}, which is no number, boolean, text or date"
    if not column.known:
        return "no row has a value"
    distinct = column.distinct - len(column.spellings) if column.missing else column.distinct
    if distinct <= 1 and column.known == column.rows:
        return "the same value in every row"
    if column.digest in seen:
        return f"the same in every row as {quoted(seen[column.digest])}"
    if column.type == "uuid":
        return "looks like an id: every row has a value of its own"
    if evidence := id_evidence(column):
        return f"looks like an id: {evidence}"
    if _is_prose(column, row_count):
        return f"looks like names or prose: {column.distinct:,} different texts in {column.known:,} rows"
    return None


def looks_like_id(column: Column) -> bool:
    return id_evidence(column) is not None


def id_evidence(column: Column) -> str | None:
    """What says that a column names rows instead of telling something of them; None where nothing does.

    By its name, where each value comes once. By its values, whatever its name: whole numbers that nearly never repeat, though
    that many numbers drawn from their range would; or that have all the same many digits and no middle, as numbers have that
    are given out. A measure of as many rows repeats, begins near 0, or gathers around its middle.
    """
    if column.known < LEAST_IDS:
        return None
    each_once = column.known == column.rows and column.distinct >= column.known
    words = {*re.split(r"[_0-9]+", tidy(column.name))}
    if each_once and bool(words & ID_WORDS) and (column.kind == "text" or _is_whole(column)) and not column.is_date_as_text:
        return "every row has a value of its own"
    if column.kind == "text" and not column.is_number_as_text:
        return "every row has a value of its own" if each_once and not column.is_date_as_text and column.longest <= 64 else None
    if not _is_whole(column) or column.distinct < NEARLY_ALL * column.known or column.known < NEARLY_ALL * column.rows:
        return None
    lowest, highest = (int(Decimal(end or 0)) for end in (column.lowest, column.highest))
    by_chance = column.known * (column.known - 1) / 2 / (highest - lowest + 1)  # repeats, at least: an even spread has fewest
    if by_chance >= SURE_REPEATS and column.known - column.distinct < 0.05 * by_chance:
        return f"{column.known - column.distinct:,} of its whole numbers come again, where chance would repeat {by_chance:,.0f}"
    if _is_numbered(column, lowest, highest):
        return f"whole numbers of {len(str(lowest))} digits, nearly each once"
    return None


def _is_whole(column: Column) -> bool:
    is_number = column.type in ("smallint", "integer", "bigint", "numeric", "double precision") or column.is_number_as_text
    return is_number and column.lowest is not None and not column.fractions and not column.not_finite


def _is_numbered(column: Column, lowest: int, highest: int) -> bool:
    """Whole numbers of as many digits, spread over their range, that are no days and no seconds since 1970."""
    digits = len(str(lowest))
    if lowest <= 0 or digits < LEAST_DIGITS or len(str(highest)) != digits or len(column.quartiles) < 3:
        return False
    is_moment = any(first <= lowest and highest <= last for first, last in MOMENTS)
    spread = (column.quartiles[2] - column.quartiles[0]) / (highest - lowest)
    return not is_moment and spread >= LEAST_SPREAD


def grows(feature: Feature) -> bool:
    """Whether a column is a date told from 2000: it moves with the calendar, whatever else happens."""
    return EPOCH in feature.expression


def advice(column: Column, feature: Feature, *, sampled: bool = False) -> Iterator[Advice]:
    """What a person should look at in a column that is read; sampled: as of `clean`."""
    about = quoted(column.name)
    if sampled and (column.is_number_as_text or column.is_date_as_text):
        kind = "number" if column.is_number_as_text else "date"
        yield Advice(about, f"texts, each a {kind} in the rows looked at: in the others, one that is none is read as NULL.")
    if feature.kind == "text" and column.distinct > MANY_CATEGORIES:
        yield Advice(
            about,
            f"too many categories: {column.distinct:,}. A model knows the {MANY_CATEGORIES} most frequent "
            "(features.max_categories); group them in training_set.sql where that says more.",
        )
    if feature.kind == "text" and column.other_dates == column.known:
        yield Advice(about, "dates that are written in another way than 2024-12-31: read as categories. Use to_date(...).")
    elif feature.kind == "text" and column.known > column.number_like > 0.9 * column.known:
        odd = column.known - column.number_like
        yield Advice(about, f"numbers but for {odd:,} rows: read as categories. Turn those into NULL, and cast the rest.")
    elif feature.kind == "text" and column.doubled and column.known == column.numbers:
        yield Advice(about, "numbers of which some are written in two ways, as 1.1 and 1.10: read as categories. Cast them?")
    elif feature.kind == "text" and column.codes < column.known == column.number_like > column.numbers:
        yield Advice(about, "numbers with separators or signs: read as categories. Take those out by replace(...) and cast.")
    if column.kind in ("date", "timestamp") or column.is_date_as_text:
        told = "days since 2000, which only grow" if grows(feature) else "days before the row's own day"
        yield Advice(about, f"a date, read as {told}: known by then?")
    yield from nothing_known(column)
    if 0 < column.known < 0.05 * column.rows:
        yield Advice(about, f"{column.rows - column.known:,} of {column.rows:,} rows have no value: worth its place?")


def nothing_known(column: Column) -> Iterator[Advice]:
    """Values that are read as NULL, by how they are written: one of them may mean something."""
    said = {word: rows for word, rows in column.spellings.items() if word}
    if said:
        listed = ", ".join(f"{word} in {rows:,} rows" for word, rows in said.items())
        yield Advice(quoted(column.name), f"read as nothing known: {listed}. Are they values (NA for Namibia)? --keep.")
    if column.zero_dates and column.is_date_as_text:
        yield Advice(quoted(column.name), f"dates of zeros (0000-00-00) in {sum(column.zero_dates.values()):,} rows are NULL.")
    if column.not_finite:
        yield Advice(quoted(column.name), f"infinity or NaN in {column.not_finite:,} rows is read as NULL.")


def bands(feature: Feature, column: Column) -> Feature:
    """A protected number as text: four groups between its quartiles."""
    cuts = [f"{cut:.6g}" for cut in sorted({*column.quartiles})]
    value = feature.expression
    cases = [f"when {value} < {cuts[0]} then 'below {cuts[0]}'"]
    cases += [f"when {value} < {high} then '{low} to {high}'" for low, high in pairwise(cuts)]
    cases.append(f"when {value} is not null then '{cuts[-1]} and more'")
    return Feature(feature.source, f"{feature.name}_band", f"case {' '.join(cases)} end", "text")


def too_many_groups(feature: Feature, column: Column) -> bool:
    return feature.kind == "number" and column.distinct > MOST_GROUPS and len({*column.quartiles}) > 0


def _number(column: Column, name: str) -> str:
    if column.type == "money":
        return f"{name}::numeric::float8"
    if column.not_finite:
        return f"case when {name} not in ('NaN', 'Infinity', '-Infinity') then {name} end::float8"
    return f"{name}::float8" if column.type == "numeric" else name


def _guarded(text: str, name: str, sampled: bool) -> str:
    return f"case when trim({name}) ~ {literal(NUMBER)} then ({text})::float8 end" if sampled else f"{_bracketed(text)}::float8"


def _days(moment: str, day: str | None) -> str:
    return f"{_bracketed(moment)} - {EPOCH}" if day is None else f"{ago(day)}{_bracketed(moment)}"


def ago(day: str) -> str:
    """How the expression of a date begins that is told in days before the row's own."""
    return f"{_bracketed(day)} - "


def _bracketed(expression: str) -> str:
    """What a cast or a sign is put behind."""
    return f"({expression})" if expression.startswith("case ") else expression


def _is_prose(column: Column, row_count: int) -> bool:
    is_text = column.kind == "text" and not (column.is_number_as_text or column.is_date_as_text)
    return is_text and row_count > 100 and column.distinct > max(MANY_CATEGORIES, UNIQUE * column.known)
