"""The SQL files of a dataset: what a person then keeps, so it reads as if a person had written it."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable

from cli.init.names import quoted
from cli.init.plan import SNAPSHOT, Entity, Plan
from pipelines.data.postgres import identifier, literal

FILES = (
    "training_set.sql",
    "fingerprint.sql",
    "left_out.sql",
    "watermark.sql",
    "outcomes.sql",
    "available_at.yaml",
    "expectations.yaml",
)
NO_TIME = (
    "The table has no dates: nothing can be said about time. All windows at 0 mean scoring, which reads rows without a label "
    "as well."
)
NO_KEY = (
    "No column names a row, so the key is a hash of all that is read of it but the label. Rows that are alike have one key and "
    "count as one, with the label that at least half of them have: on both sides of the split they would give the answer away."
)
HASH = """select
    md5(
        concat_ws(
            ' ',
            count(*),
            sum(('x' || substr(digest, 1, 15))::bit(60)::bigint::numeric),
            sum(('x' || substr(digest, 16, 15))::bit(60)::bigint::numeric)
        )
    ) as fingerprint
from digests
"""


def files(plan: Plan) -> dict[str, str]:
    """File name -> content."""
    written = {"training_set.sql": training_set(plan), "fingerprint.sql": fingerprint(plan), "left_out.sql": left_out(plan)}
    return written | ({"watermark.sql": watermark(plan), "outcomes.sql": outcomes(plan)} if plan.time else {})


def training_set(plan: Plan) -> str:
    """One row an entity, and snapshot where there is time: key, label and features. It serves training and scoring."""
    selected = [_as(expression, name) for expression, name in _keys_and_label(plan)]
    selected += [_as(feature.expression, _own(plan, feature.name)) for feature in plan.features]
    left_out = [f"-- left out, {quoted(one.source)}: {one.reason}" for one in plan.left_out]
    cleaned = f"cleaned as (\n    select\n{_listed(selected, 8)}\n    from source{_where(plan)}\n)"
    if left_out:
        cleaned = cleaned.replace("    select\n", "    select\n" + "".join(f"        {line}\n" for line in left_out), 1)
    return "\n\n".join([_grain(plan), f"with {_pin(plan)},\n\n{_source(plan)},\n\n{cleaned}", _final(plan)])


def fingerprint(plan: Plan) -> str:
    """A hash of the rows that the training query reads, in the columns that it reads."""
    keys = [plan.target.source, plan.entity.source, plan.key.source, plan.time and plan.time.source]
    sources = [*keys, *(feature.source for feature in plan.features)]
    read = [identifier(source) for source in dict.fromkeys(filter(None, sources))]
    columns = f"            row(\n{_listed(read, 16)}\n            )::text\n"
    digests = f"digests as (\n    select\n        md5(\n{columns}        ) as digest\n"
    digests += f"    from source{_where(plan, labelled=True)}\n)"
    note = _comment(
        "One row, one text: a hash of the rows that training_set.sql reads at :as_of, in the columns that it reads. Neither "
        "their order nor their physical place counts, and rows whose label is not due yet do not either."
    )
    pin = f"{_pin(plan)},\n\n" if plan.time else ""
    return f"{note}\n\nwith {pin}{_source(plan)},\n\n{digests}\n\n{HASH}"


def left_out(plan: Plan) -> str:
    """Where the source's rows go: one row a reason, with its number of rows; NULL is the reason of those that are read."""
    note = _comment(
        "Grain: one row a reason why rows of the source are not in the training set, and one without a reason for those that "
        "are; with their number. Shown on the page of stage validate; who changes conditions in training_set.sql changes them "
        "here."
    )
    reasons = []
    reasons += [(f"({key.present}) is not true", f"no {key.name}") for key in _keys(plan)]
    if plan.time:
        day = _bracketed(plan.time.day)
        reasons += [
            (f"{day} is null or not isfinite({day})", f"no day in {plan.time.source}"),
            (f"{day} < (select first_day from pin)", "older than data.history_days"),
            (f"{day} > (select last_day from pin)", "label not due by the pin"),
        ]
    reasons.append((f"{plan.target.expression} is null", f"no label in {plan.target.source}"))
    cases = "\n".join(f"            when {condition} then {literal(reason)}" for condition, reason in reasons)
    pin = f"{_pin(plan)},\n\n" if plan.time else ""
    return (
        f"{note}\n\nwith {pin}{_source(plan)},\n\nreasons as (\n    select\n        case\n{cases}\n        end as reason\n"
        "    from source\n)\n\nselect reason, count(*) as rows from reasons group by reason order by reason\n"
    )


def watermark(plan: Plan) -> str:
    """The newest day that the source has complete."""
    day, back = f"max({plan.time.day})", "" if plan.time.whole_days else " - 1"
    half = "" if plan.time.whole_days else " It is the day before the newest row, whose own day may be half there."
    note = _comment(f"The newest day up to which the source is complete: one row, one date.{half}")
    future = f"\nwhere {plan.time.day} <= current_date -- some rows lie in the future" if plan.time.future else ""
    return f"{note}\n\nwith {_source(plan)}\n\nselect {day}{back} as watermark\nfrom source{future}\n"


def outcomes(plan: Plan) -> str:
    """The labels of scored days, as soon as they are due."""
    due = f"{plan.time.day} + cast(:horizon_days as int) + cast(:embargo_days as int)"
    note = _comment(
        "Grain: one row a scored row of a day of :score_days, once :horizon_days and :embargo_days have passed by :as_of.",
        "Key and label are those of training_set.sql: who changes them there changes them here. available_at is the day on "
        "which the label is final; where the table says when it was known, write that instead.",
    )
    selected = [_as(expression, name) for expression, name in _keys_and_label(plan, snapshot=plan.time.day)]
    if plan.key.source is None:  # the key is made of the features, so they are needed here as well
        selected += [_as(feature.expression, _own(plan, feature.name)) for feature in plan.features]
    where = (
        f"\n    where\n        {plan.time.day} = any(cast(:score_days as date []))\n        and {due} <= cast(:as_of as date)"
    )
    cleaned = f"cleaned as (\n    select\n{_listed([*selected, f'{due} as available_at'], 8)}\n    from source{where}\n)"
    return f"{note}\n\nwith {_source(plan)},\n\n{cleaned}\n\n{_final(plan, outcomes=True)}"


def _grain(plan: Plan) -> str:
    who = f"one row a {plan.key.name}" if plan.key.source else "one row a different row of the table"
    who += f"; a {plan.entity.name} may have several" if plan.row else ""
    day = "" if not plan.time else f" and day, {SNAPSHOT}" if plan.time.grain == "day" else ""
    month = plan.time and plan.time.grain == "month"
    seen = f", as it was on its own day; {SNAPSHOT} is the end of that month" if month else ""
    return _comment(
        f"Grain: {who}{day}{seen}. Written by `evergreen init` for {plan.relation.described}; yours to change.",
        "A text that means nothing, such as a blank or a question mark, becomes NULL, and numbers and dates in texts get their "
        "own type. What is left out, and why, stands beside what is read. A label of -1 is a value that is none of the two: "
        "stage validate stops at it, until this query says which of them it is.",
        _time_note(plan.time.grain) if plan.time else NO_TIME,
        *([] if plan.key.source else [NO_KEY]),
    )


def _time_note(grain: str) -> str:
    days = "whole months" if grain == "month" else "days"
    return (
        f"Read are rows of the {days} from as_of - history_days to as_of - horizon_days - embargo_days: the label of a later "
        "one is not due yet. With all three at 0 it is the rows of as_of itself, labelled or not, for scoring. Every column "
        "must have been known on the row's own day."
    )


def _comment(*paragraphs: str) -> str:
    return "\n--\n".join(
        "\n".join(textwrap.wrap(paragraph, 122, initial_indent="-- ", subsequent_indent="-- ")) for paragraph in paragraphs
    )


def _pin(plan: Plan) -> str:
    windows = "cast(:history_days as int) + cast(:horizon_days as int) + cast(:embargo_days as int) = 0 as is_scoring"
    if not plan.time:
        return f"pin as (\n    select {windows}\n)"
    first = "cast(:as_of as date) - cast(:history_days as int)"
    last = "cast(:as_of as date) - cast(:horizon_days as int) - cast(:embargo_days as int)"
    if plan.time.grain == "month":
        only = f"case\n            when {windows.removesuffix(' as is_scoring')} then cast(:as_of as date)\n            else "
        first = f"{only}date_trunc('month', ({first})::timestamp)::date\n        end"
        last = f"{only}date_trunc('month', ({last} + 1)::timestamp)::date - 1\n        end"
    return f"pin as (\n    select\n        {first} as first_day,\n        {last} as last_day,\n        {windows}\n)"


def _source(plan: Plan) -> str:
    if not plan.relation.statement.startswith("("):
        return f"source as (\n    select * from {plan.relation.statement}\n)"
    return f"source as {plan.relation.statement}"  # as it is: a text in it may run over several lines


def _where(plan: Plan, *, labelled: bool = False) -> str:
    """Rows of the pinned days that have a key; `labelled`: and a label, as training_set.sql says in its last lines."""
    conditions = []
    if plan.time and plan.time.moment:  # and not its date: an index on it can be used
        conditions += [
            f"{plan.time.moment} >= (select first_day from pin)",
            f"{plan.time.moment} < (select last_day from pin) + 1",
        ]
    elif plan.time:
        conditions.append(f"{plan.time.day} between (select first_day from pin) and (select last_day from pin)")
    if labelled:
        conditions.append(f"{plan.target.expression} is not null")
    conditions += [key.present for key in _keys(plan)]
    joined = "\n        and ".join(conditions)
    return f"\n    where\n        {joined}" if conditions else ""


def _keys_and_label(plan: Plan, snapshot: str = "") -> Iterable[tuple[str, str]]:
    yield from ((identifier(source), _own(plan, name)) for source, name in _key_sources(plan).items())
    if plan.time:
        yield plan.time.day, "observation_date" if not plan.key.source else SNAPSHOT if snapshot else "observation_date"
    yield plan.target.expression, _own(plan, plan.target_name)


def _final(plan: Plan, *, outcomes: bool = False) -> str:
    """The columns that come out, each row once."""
    label, features = _own(plan, plan.target_name), [_own(plan, feature.name) for feature in plan.features]
    extra = ["available_at"] if outcomes else []
    snapshot = _snapshot(plan, outcomes) if plan.time else []
    condition = f"where {label} is not null" + ("" if outcomes else " or (select is_scoring from pin)")
    keys = [_own(plan, name) for name in _key_sources(plan).values()]
    if plan.key.source:
        word = "select distinct" if plan.distinct else "select"
        listed = [*keys, *snapshot, label, *([] if outcomes else features), *extra]
        return f"{word}\n{_listed(listed, 4)}\nfrom cleaned\n{condition}\n"
    alike = [*keys, *(["observation_date"] if plan.time else []), *features]
    key = f"md5(\n        row(\n{_listed(alike, 12)}\n        )::text\n    ) as {plan.key.name}"
    shared = f"case when min({label}) < 0 then min({label}) else (avg({label}) >= 0.5)::int end as {label}"
    listed = [*keys, key, *snapshot, shared, *([] if outcomes else features), *extra]
    return f"select\n{_listed(listed, 4)}\nfrom cleaned\n{condition}\ngroup by\n{_listed([*alike, *extra], 4)}\n"


def _keys(plan: Plan) -> list[Entity]:
    """Who a row is about and what names it, where they have columns in the source."""
    return [fromkey for fromkey in dict.fromkeys((plan.entity, plan.key)) if fromkey.source]


def _key_sources(plan: Plan) -> dict[str, str]:
    return {key.source: key.name for key in _keys(plan) if key.source}


def _snapshot(plan: Plan, outcomes: bool) -> list[str]:
    if outcomes:
        return [SNAPSHOT if plan.key.source else f"observation_date as {SNAPSHOT}"]
    if plan.time.grain == "day":
        return [f"observation_date as {SNAPSHOT}"]
    month_end = "(date_trunc('month', observation_date::timestamp) + interval '1 month')::date - 1"
    return [f"case when (select is_scoring from pin) then observation_date else {month_end} end as {SNAPSHOT}"]


def _bracketed(expression: str) -> str:
    return expression if re.fullmatch(r'"[^"]*"', expression) else f"({expression})"


def _own(plan: Plan, name: str) -> str:
    """A name of ours in SQL: quoted where Postgres would take it for something else."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in plan.reserved else identifier(name)


def _as(expression: str, name: str) -> str:
    return name if expression == name else f"{expression} as {name}"


def _listed(lines: Iterable[str], indent: int) -> str:
    return ",\n".join(" " * indent + line for line in lines)
