"""Everything that is asked of the source before anything is decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cli.init import columns, names, profile, target
from cli.init.names import quoted
from cli.init.profile import Clock, Column, Profile
from cli.init.source import Reader, Relation
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import identifier

FEW_KEYS = 5  # columns that look like an id, and are counted in full


@dataclass(frozen=True)
class Options:
    """What the person says. Names are the source's."""

    target: str
    positive: str | None = None
    id: str | None = None
    group: str | None = None
    time: str | None = None
    horizon: int = 0
    protected: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    available_after: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    timezone: str = "UTC"
    keep: tuple[str, ...] = ()

    @property
    def named(self) -> set[str]:
        """Columns that keep their place whatever stands in them."""
        return {*self.protected, *self.personal, *self.exclude}


@dataclass(frozen=True)
class Survey:
    """What there is. day: the expression of a row's own day; value: that of the target, with its `values`. key: of what
    names a row, the rows, keys (with the day) and entities; unique: the columns that have a value of their own in every row;
    alike: entities that are another one but for blanks and case."""

    profile: Profile
    value: str
    values: target.Values
    day: str | None = None
    clock: Clock | None = None
    key: tuple[int, int, int] | None = None
    unique: tuple[str, ...] = ()
    alike: int = 0


def resolve(options: Options, found: Sequence[str]) -> Options:
    """The options with the columns' very names.

    Raises:
        EvergreenError: there is no such column, or one is to be two things.
    """

    def all_of(option: str, wanted: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(names.find(name, found, option) for name in wanted))

    resolved = Options(
        target=names.find(options.target, found, "--target"),
        positive=options.positive,
        id=options.id and names.find(options.id, found, "--id"),
        group=options.group and names.find(options.group, found, "--group"),
        time=options.time and names.find(options.time, found, "--time"),
        horizon=options.horizon,
        protected=all_of("--protected", options.protected),
        personal=all_of("--personal", options.personal),
        available_after=all_of("--available-after", options.available_after),
        exclude=all_of("--exclude", options.exclude),
        timezone=options.timezone,
        keep=all_of("--keep", options.keep),
    )
    if options.horizon and not options.time:
        raise EvergreenError("--horizon counts days from a row's own day: name its column by --time.")
    if options.group and options.time:
        raise EvergreenError("--group is for a table without dates: with --time, name who comes again on other days by --id.")
    parts = {
        "--target": [resolved.target],
        "--id": [resolved.id],
        "--group": [resolved.group],
        "--time": [resolved.time],
        "--available-after": resolved.available_after,
    }
    parts |= {"--protected": resolved.protected, "--personal": resolved.personal}
    for name in found:
        if len(options_of := [option for option, some in parts.items() if name in some]) > 1:
            raise EvergreenError(f"{quoted(name)} cannot be both {' and '.join(options_of)}: name it once.")
    return resolved


def survey(
    reader: Reader,
    relation: Relation,
    options: Options,
    most: int = profile.SAMPLE,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[Survey, Options]:
    """Counts of the source, in bounded memory, and the options with the columns' very names.

    Raises:
        EvergreenError: an option fits no column, there are no rows, or the time column is none.
    """
    listed = [Column(*column) for column in reader.columns(relation.statement)]
    if not listed:
        raise EvergreenError(f"{relation.described} has no columns.")
    options = resolve(options, [column.name for column in listed])
    by_name = {column.name: column for column in listed}
    day = _day(reader, relation, by_name[options.time], most) if options.time else None
    found = profile.profile(reader, relation, listed, day, most, progress)
    kept = tuple(column.keeping() if column.name in options.keep else column for column in found.columns)
    found = replace(found, columns=kept)
    if not found.rows:
        raise EvergreenError(f"{relation.described} holds no rows: bring some, then run this again.")
    value, values = _target(reader, relation, found.column(options.target))
    unique = _unique(reader, relation, found, options) if options.id is None else ()
    entity = options.id or (unique[0] if unique else None)
    key = profile.keys(reader, relation, [_key(found.column(entity)), *([day] if day else [])]) if entity else None
    clock = profile.clock(reader, relation, day) if day else None
    if clock and clock.last is None:
        raise EvergreenError(f"--time {quoted(options.time)}: no row has a day.")
    whose = options.group or entity
    alike = _alike(reader, relation, found.column(whose)) if whose else 0
    return Survey(found, value, values, day, clock, key, unique, alike), options


def _alike(reader: Reader, relation: Relation, column: Column) -> int:
    """How many entities differ from another one in blanks or case alone."""
    if not column.is_free_text:
        return 0
    name = _key(column)
    _, entities, folded = profile.keys(reader, relation, [f"lower(trim({name}))", name])
    return entities - folded


def _key(column: Column) -> str:
    """The expression of an entity: an empty text names none."""
    return f"nullif({identifier(column.name)}, '')" if column.is_free_text else identifier(column.name)


def _day(reader: Reader, relation: Relation, column: Column, most: int) -> str:
    """The expression of a row's own day."""
    name = identifier(column.name)
    if column.kind == "date":
        return name
    if column.kind == "timestamp":
        return f"{name}::date"
    if column.kind != "text":
        raise EvergreenError(
            f"--time {quoted(column.name)} is of type {column.type}: a date or a timestamp is needed. Make one of it by --sql, "
            "such as `select *, to_date(month || '-01', 'YYYY-MM-DD') as day from ...`."
        )
    found = profile.profile(reader, relation, [column], None, most)
    (column,) = found.columns
    if not column.is_date_as_text:
        raise EvergreenError(
            f"--time {quoted(column.name)} is text, and {column.known - column.dates:,} of {column.known:,} rows are not "
            "written as 2024-12-31. Make a date of it by --sql, such as `select *, to_date(day, 'DD/MM/YYYY') as on from ...`."
        )
    return columns.day_of_text(column, sampled=found.sampled)


def _target(reader: Reader, relation: Relation, column: Column) -> tuple[str, target.Values]:
    value = target.value(column)
    values = profile.values(reader, relation, value)
    if column.kind == "text" and len([text for text, _ in values if text is not None]) > 2:
        alike = profile.values(reader, relation, target.folded(value))
        if len([text for text, _ in alike if text is not None]) == 2:
            return target.folded(value), alike
    return value, values


def _unique(reader: Reader, relation: Relation, found: Profile, options: Options) -> tuple[str, ...]:
    """Columns that have a value of their own in every row, those that are called an id first."""
    used = {options.target, options.time, options.group, *options.named, *options.available_after}
    like = [column for column in found.columns if column.name not in used and columns.looks_like_id(column)]
    like.sort(key=lambda column: not {*names.tidy(column.name).split("_")} & columns.ID_WORDS)
    counted = {column.name: profile.keys(reader, relation, [identifier(column.name)]) for column in like[:FEW_KEYS]}
    return tuple(name for name, (rows, distinct, _) in counted.items() if rows == distinct == found.rows)
