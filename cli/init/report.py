"""What `evergreen init` says: what it decided, and what a person should look at before the first run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cli.init.columns import Advice
from cli.init.measure import TrainingSet
from cli.init.names import quoted, tidy
from cli.init.parameters import smallest_pin
from cli.init.plan import SNAPSHOT, Plan
from cli.init.survey import Survey


def decided(plan: Plan, survey: Survey, found: TrainingSet) -> Iterator[str]:
    """One line a decision."""
    looked = (
        f"counts of columns are of {survey.profile.looked_at:,} of them" if survey.profile.sampled else "all were looked at"
    )
    yield f"{plan.relation.described}: {survey.profile.rows:,} rows, {len(survey.profile.columns)} columns; {looked}."
    yield (
        f"target {plan.target_name}: 1 where {quoted(plan.target.source)} is {plan.target.positive!r}, 0 where it is "
        f"{plan.target.negative!r}. The training set has {found.rows:,} rows, {found.positives:,} of them positive "
        f"({found.rate:.1%})."
    )
    if plan.target.absent:
        yield f"{plan.target.absent:,} rows without a label are scored, and not learnt from."
    yield from _key(plan, survey, found)
    yield from _time(plan, found)
    yield _limits(plan, found)
    kinds = [feature.kind for feature in plan.learnt]
    listed = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("number", "text", "boolean") if kind in kinds)
    yield f"a model sees {len(kinds)} columns ({listed}); their names here are lower-case: {_renamed(plan)}."
    if plan.protected:
        yield from _protected(plan)
    if plan.personal:
        yield f"personal {', '.join(plan.personal)}: no model sees them, and no page shows them."
    for one in plan.left_out:
        yield f"left out {quoted(one.source)}: {one.reason}."


def to_check(plan: Plan, survey: Survey, advice: Sequence[Advice]) -> Iterator[str]:
    """One line a doubt."""
    if plan.key.adopted:
        other = "--id" if plan.time else "--group"
        asked = f" Is a row about something that comes in other rows too, such as a customer? Then name that by {other}: it"
        asked += " must not be on both sides of the split."
        yield f"{quoted(plan.key.source)} looks like an id and became the key.{'' if plan.row else asked}"
    if plan.time:
        lag = f"within {plan.horizon_days} days after" if plan.horizon_days else "on"
        yield f"known when? A row's label counts as known {lag} its {quoted(plan.time.source)} (--horizon)."
        yield f"known when? Every column counts as known on {quoted(plan.time.source)}; others belong to --available-after."
    else:
        yield "known when? Without --time every column counts as known before the outcome; others belong to --available-after."
    if plan.time and plan.time.future:
        yield f"{quoted(plan.time.source)}: {survey.clock.future:,} rows lie in the future, and are not read before their day."
    if survey.clock and survey.clock.absent:
        yield f"{quoted(plan.time.source)}: {survey.clock.absent:,} rows have no day, and are left out."
    if survey.key and plan.key.source and survey.key[0] < survey.profile.rows:
        yield f"{quoted(plan.key.source)}: {survey.profile.rows - survey.key[0]:,} rows have no key, and are left out."
    if survey.alike:
        yield (
            f"{quoted(plan.entity.source)}: {survey.alike:,} of its values are another one but for blanks or case. If these "
            "are the same, make them one by --sql: they may stand on both sides of the split."
        )
    for one in advice:
        yield f"{one.about}: {one.message}"
    if plan.left_out:
        yield "what was left out: a line in training_set.sql, and the column's name in fingerprint.sql, take it in."


def _key(plan: Plan, survey: Survey, found: TrainingSet) -> Iterator[str]:
    if plan.row:
        yield (
            f"group {plan.entity.name}: {quoted(plan.entity.source)} may have several rows, which stay on one side of a split; "
            f"intervals resample groups. Scores are of rows, kept by {plan.row.name}."
        )
    if plan.key.source:
        yield f"key {plan.key.name}: {quoted(plan.key.source)}{f', with {SNAPSHOT}' if plan.time else ''}."
        if plan.distinct:
            yield f"{survey.key[0] - survey.key[1]:,} rows repeat another as a whole: each counts once."
        return
    yield f"key {plan.key.name}: no column names a row, so it is a hash of what is read of it."
    alike = plan.target.positives + plan.target.negatives - found.rows
    if alike and not plan.time:
        yield (
            f"{alike:,} rows are like another in all that is read but the label: they count as one, with the label of at least "
            "half of them. Where they are different cases, name a key by --id."
        )


def _limits(plan: Plan, found: TrainingSet) -> str:
    first, fewest = smallest_pin(plan, found)
    if not first:
        return f"validate.min_rows is 70% of the {found.rows:,} rows."
    return (
        f"validate.min_rows is 70% of {fewest:,}, the fewest rows of a pin from {first} on. An earlier one has too few to "
        "learn from."
    )


def _protected(plan: Plan) -> Iterator[str]:
    listed = ", ".join(plan.protected)
    yield (
        f"protected {listed}: taken from the models (features.exclude), and the audit and the gate judge each of their groups. "
        "What such a group differs in, and no other column shows, a model then cannot know: it may be found too seldom, or "
        "expected too little. Where a model may see the column, take it out of features.exclude."
    )
    for feature in plan.features:
        if feature.name in plan.protected and feature.name == f"{tidy(feature.source)}_band":
            yield f"{quoted(feature.source)} is read as the groups of {feature.name} alone: the number itself is not."


def _time(plan: Plan, found: TrainingSet) -> Iterator[str]:
    if not plan.time:
        yield f"no time: rows are split by a hash of {plan.entity.name} alone, and nothing can be said about time."
        return
    days = f"{len(found.snapshots)} {'months' if plan.time.grain == 'month' else 'different days'}"
    yield (
        f"time {SNAPSHOT}: {quoted(plan.time.source)}, {days} from {found.snapshots[0][0]} to {found.snapshots[-1][0]}; "
        f"the source counts as complete up to {plan.time.watermark}."
    )
    if plan.time.moment:
        yield f"a day of {quoted(plan.time.source)} is one of {plan.timezone} (--timezone, data.timezone)."


def _renamed(plan: Plan) -> str:
    changed = [feature for feature in plan.features if feature.name != feature.source]
    if not changed:
        return "as they are in the table"
    shown = ", ".join(f"{quoted(one.source)} is {one.name}" for one in changed[:3])
    return shown + (f", and {len(changed) - 3} more" if len(changed) > 3 else "")
