"""From what is in the source to what is read of it: decisions alone, no database and no disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from cli.init import columns, names, target
from cli.init.columns import Advice, Feature, LeftOut
from cli.init.names import quoted
from cli.init.plan import ROW_ID, Entity, Plan, Time, check_something_is_left
from cli.init.profile import Column
from cli.init.source import Relation
from cli.init.survey import Options, Survey
from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import identifier

MOST_DAYS = 62  # different days that stand as snapshots; more of them become months


def decide(name: str, relation: Relation, found: Survey, options: Options) -> Plan:
    """What is read, how, and what should be looked at.

    Raises:
        EvergreenError: the target has not two values, a key names several rows, or nothing is left to learn from.
    """
    chosen = target.choose(found.profile.column(options.target), found.values, found.value, options.positive)
    entity, row = _entities(found, options)
    time = _time(found, options, entity) if found.clock else None
    ours = names.tidy_all(_sources(options.target, options.group, entity.source, row and row.source))
    taken = {*ours.values(), entity.name, *([row.name] if row else [])}
    features, left_out, about = _features(found, options, _sources(entity.source, row and row.source), time, taken)
    by_source = {feature.source: feature.name for feature in features}
    plan = Plan(
        name=name,
        relation=relation,
        entity=entity,
        row=row,
        target=chosen,
        target_name=ours[options.target],
        features=features,
        left_out=left_out,
        protected=tuple(by_source[source] for source in options.protected),
        personal=tuple(by_source[source] for source in options.personal),
        exclude=tuple(dict.fromkeys(by_source[source] for source in (*options.protected, *options.exclude))),
        available_after=tuple(map(names.tidy, options.available_after)),
        advice=(*columns.nothing_known(found.profile.column(options.target)), *about),
        reserved=found.profile.reserved,
        time=time,
        horizon_days=options.horizon,
        distinct=_repeats(found),
        timezone=options.timezone,
    )
    check_something_is_left(plan)
    return plan


def _entities(found: Survey, options: Options) -> tuple[Entity, Entity | None]:
    """Who rows are about, and what names a row where --group says that they have several."""
    source = options.id or (found.unique[0] if found.unique else None)
    ours = names.tidy_all(_sources(options.target, options.group, source))
    if found.key and not found.key[0]:
        raise EvergreenError(f"--id {quoted(source or '')}: no row has one.")

    def entity(named: str, *, adopted: bool = False) -> Entity:
        return Entity(ours[named], named, adopted, found.profile.column(named).is_free_text)

    key = entity(source, adopted=options.id is None) if source else Entity(ROW_ID, None)
    return (entity(options.group), key) if options.group else (key, None)


def _sources(*named: str | None) -> list[str]:
    return list(dict.fromkeys(filter(None, named)))


def _repeats(found: Survey) -> bool:
    return bool(found.key and found.key[0] > found.key[1])


def _time(found: Survey, options: Options, entity: Entity) -> Time:
    clock, column = found.clock, found.profile.column(options.time)
    _, keys, entities = found.key or (0, 0, 0)
    returns = entity.source is not None and entities < keys  # entities come again on other days
    months = max(1.0, ((clock.last - clock.first).days + 1) / 30.4)
    return Time(
        source=options.time,
        day=found.day,
        moment=identifier(options.time) if column.kind == "timestamp" else None,
        grain="month" if clock.days > MOST_DAYS and not returns else "day",
        whole_days=column.kind == "date" or (column.kind == "text" and (column.highest or "0000-00-00")[10:] == ""),
        first=clock.first,
        last=min(clock.last, date.today()) if clock.future else clock.last,
        future=clock.future > 0,
        everyone_daily=returns and clock.days / months > 20,
    )


def _features(
    found: Survey, options: Options, entities: list[str], time: Time | None, taken: set[str]
) -> tuple[tuple[Feature, ...], tuple[LeftOut, ...], tuple[Advice, ...]]:
    keys = {options.target, options.time, *entities}
    rest = [column for column in found.profile.columns if column.name not in keys]
    ours = names.tidy_all([column.name for column in rest], taken)
    features, left_out, about, seen = [], [], [], {}
    for column in rest:
        expression, kind = columns.clean(column, time.day if time else None, sampled=found.profile.sampled)
        feature = Feature(column.name, ours[column.name], expression, kind, tuple(column.spellings))
        if column.name in options.named:
            features.append(_named(feature, column, options))
        elif reason := _reason(column, options, seen, found, time):
            left_out.append(LeftOut(column.name, reason))
        else:
            features.append(feature)
            about += columns.advice(column, feature, sampled=found.profile.sampled)
        if column.digest and column.name not in options.available_after:
            seen.setdefault(column.digest, column.name)
    return tuple(features), tuple(left_out), tuple(about)


def _named(feature: Feature, column: Column, options: Options) -> Feature:
    """A column that the person named: it keeps its place, and a protected one becomes groups."""
    if column.name in options.protected:
        return _groups(feature, column)
    if column.name in options.personal or column.kind == "other":  # nobody learns from it
        return replace(feature, expression=f"{identifier(column.name)}::text", kind="text")
    return feature


def _groups(feature: Feature, column: Column) -> Feature:
    about = f"--protected {quoted(column.name)}"
    if not column.known:
        raise EvergreenError(f"{about}: no row has a value, so there are no groups.")
    if column.kind == "other" or column.kind in ("date", "timestamp", "duration") or column.is_date_as_text:
        raise EvergreenError(f"{about} is of type {column.type}: make groups of it by --sql, such as age bands.")
    if columns.too_many_groups(feature, column):
        return columns.bands(feature, column)
    if feature.kind == "text" and column.distinct > columns.MANY_CATEGORIES:
        raise EvergreenError(
            f"{about} has {column.distinct:,} values, and at most {columns.MANY_CATEGORIES} groups can be audited: "
            "make fewer of them by --sql."
        )
    return feature


def _reason(column: Column, options: Options, seen: dict[str, str], found: Survey, time: Time | None) -> str | None:
    """Why a column is left out, if it is."""
    if column.name in options.available_after:
        return "known only after the outcome (--available-after)"
    if reason := columns.without_use(column, seen, found.profile.rows):
        return reason
    if time and column.later > 0.001 * column.rows:
        share = column.later / column.rows
        return f"later than the row's own day in {share:.1%} of the rows: known by then? A planned date may be; an event is not"
    return None
