"""params.yaml for a table: the clone's own file, with its comments and reasons; what is of the table changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from infra.init import columns
from infra.init.measure import TrainingSet
from infra.init.plan import HISTORY, SNAPSHOT, Plan
from infra.init.yaml_text import flow
from pipelines import params
from pipelines.errors import EvergreenError

COMMENT_AT = 30
MONTH = 28  # days: one window, at least, is held out in time
MOST_HELD_OUT = 0.5  # of the rows, by their time


def written(template: str, where: str, plan: Plan, found: TrainingSet) -> str:
    """The template's text with the values of this table and their reasons.

    Raises:
        EvergreenError: the template lacks a key that is to be set.
    """
    lines = template.splitlines()
    for key, value, reason in [*_names(plan), *_data(plan), *_gates(plan, found), *_wording(), *_promoting(), *_watching(plan)]:
        _set(lines, key, value, reason, where)
    text = "\n".join([f"# Of {plan.relation.described}. Written by `evergreen init`, yours to change.", *lines]) + "\n"
    params.parse(text, "the params.yaml that init has made")  # whoever changed a key of params.py hears of it
    return text


def newest_snapshots(plan: Plan, found: TrainingSet) -> int:
    """Snapshots to hold out in time: as many as the horizon spans, so that training knew what had happened before them."""
    if len(found.snapshots) < 3:
        return 0
    since = found.snapshots[-1][0] - timedelta(days=max(plan.horizon_days, MONTH))
    count, rows = 0, 0
    for day, of_day, _ in reversed(found.snapshots):
        rows += of_day
        if count and (day <= since or rows > MOST_HELD_OUT * found.rows):
            break
        count += 1
    return count


def _names(plan: Plan) -> Iterator[tuple[str, Any, str | None]]:
    yield "model", plan.name, None
    yield "owner", "nobody yet", None
    yield "data.dataset", plan.name, None


def _data(plan: Plan) -> Iterator[tuple[str, Any, str | None]]:
    yield "data.as_of", None, None
    yield "data.fingerprint", None, None
    yield "data.timezone", plan.timezone, None
    by_content = "a hash of what is read of a row: no column names one"
    yield "data.entity", plan.entity.name, None if plan.entity.source else by_content
    yield (
        "data.target",
        plan.target_name,
        f"1 where the table says {flow(plan.target.positive)}, 0 where {flow(plan.target.negative)}",
    )
    yield "data.protected", list(plan.protected), None
    yield "data.personal", list(plan.personal), None
    if not plan.time:
        yield "data.time", None, "the table has no dates: nothing can be said about time"
        yield "data.history_days", 1, "no days are meant: not all 0, which is scoring, where rows without a label are read too"
        yield "data.horizon_days", 0, "the table does not say when a label became known"
        yield "data.embargo_days", 0, "likewise"
        return
    whole = f"all of the table, from {plan.time.first} on" if plan.time.history_days < HISTORY else "three turns of the seasons"
    of_month = " (the end of its month: single days would be too many snapshots)" if plan.time.grain == "month" else ""
    yield "data.time", SNAPSHOT, f"a row's own day{of_month}"
    yield "data.history_days", plan.time.history_days, whole
    yield "data.horizon_days", plan.horizon_days, "days after its own day until a row's label is known"
    yield "data.embargo_days", 0, "days more until it is surely known: raise it where labels come late or are corrected"


def _gates(plan: Plan, found: TrainingSet) -> Iterator[tuple[str, Any, str | None]]:
    yield "validate.min_rows", _round_down(0.7 * found.rows), f"the table gave {found.rows:,}: far fewer is a broken load"
    held_out = f"of the entities: about {0.3 * found.rows:,.0f} rows are held out"
    yield "split.test_share", 0.3, held_out
    clock = "of the horizon's length, or half of the rows: held out in time as well" if plan.time else "the table has no clock"
    yield "split.newest_snapshots", newest_snapshots(plan, found), clock
    yield "features.exclude", list(plan.exclude), None
    yield "features.texts", _text_rules(plan), "what training_set.sql does to texts: the API does it too"
    ages = [feature.name for feature in plan.learnt if plan.time and feature.expression.startswith(columns.ago(plan.time.day))]
    yield "leakage.ages", ages, None
    yield "leakage.known_after", list(plan.known_after), None


def _text_rules(plan: Plan) -> dict[str, Any]:
    """As columns.text_or_null has it: blanks are taken off, and each column has its own words for nothing."""
    said = {one.name: sorted(set(one.nothing) - {""}) for one in plan.learnt if one.kind == "text"}
    return {"trim": True, "lower": False, "missing": {name: words for name, words in said.items() if words}}


def _wording() -> Iterator[tuple[str, Any, str | None]]:
    """Reasons of the demo, said for any table; the values stay."""
    yield "split.salt", ..., "never tuned: changing it moves entities between the sides"
    yield "evaluate.bootstrap", ..., "resamples of entities, never of rows"
    yield "audit.min_positives", ..., "entities of either label in it"
    yield "evaluate.cost_false_negative", ..., "what it costs to miss a positive, against ..."
    yield "evaluate.cost_false_positive", ..., "... a needless alarm: the threshold follows from the ratio"
    reason = "a group's positives may be found this much less often. Not 0: groups have different base rates"
    yield "audit.max_tpr_shortfall", ..., reason
    yield "audit.max_fpr_excess", ..., "null is not judged. Set it where being selected is a burden"
    yield (
        "audit.max_underestimation",
        ...,
        "of the base rate: a group's positives are expected less than they come, beyond the others'",
    )


def _promoting() -> Iterator[tuple[str, Any, str | None]]:
    """What wrong decisions cost is what counts; the demo, whose retrainings gain in the order of scores, says otherwise."""
    yield "promotion.metric", "cost", "of wrong decisions, a row; or roc_auc, pr_auc, log_loss, brier: docs/promotion.md"
    yield "promotion.min_effect", 0.002, "in the metric's unit; of cost a false alarm's is 1. Take 1% of what decisions cost"
    yield "promotion.max_cost_loss", ..., "of what the champion's decisions cost, where another metric decides"


def _watching(plan: Plan) -> Iterator[tuple[str, Any, str | None]]:
    of_window, reason = "newest day", "the table is scored as a whole: one day has everyone"
    if plan.time and not plan.time.everyone_daily:
        of_window, reason = "every day", "a row comes on its own day; `newest day` where everyone is there every day"
    elif plan.time:
        reason = "everyone is there every day, so one day has them all"
    yield "monitor.of_window", of_window, reason
    yield "monitor.rates", {}, "sums since the beginning, such as {total_charges: tenure_months}: watched a unit of the second"
    growing = [feature.name for feature in plan.learnt if columns.grows(feature)]
    yield "monitor.trending", growing, "columns that grow with the calendar, such as an age: their shape is not judged"


def _set(lines: list[str], key: str, value: Any, reason: str | None, where: str) -> None:
    """Change the line of a dotted key: its value unless that is `...`, and its comment where there is a reason."""
    section, _, name = key.rpartition(".")
    start = next((at for at, line in enumerate(lines) if re.match(rf"{section}:", line)), None) if section else -1
    pattern = re.compile(rf"({'  ' if section else ''}{name}:) *(.*?)( +# .*)?$")
    for at in range(len(lines) if start is None else start + 1, len(lines)):
        if section and re.match(r"\w", lines[at]):
            break
        if found := pattern.fullmatch(lines[at]):
            text = f"{found[1]} {found[2] if value is ... else flow(value)}"
            comment = f"# {reason}" if reason else (found[3] or "").strip()
            lines[at] = f"{text.ljust(COMMENT_AT - 1)} {comment}".rstrip() if comment else text
            while reason and at + 1 < len(lines) and re.match(r" {10,}#", lines[at + 1]):  # the rest of the old reason
                del lines[at + 1]
            return
    raise EvergreenError(f"{where} has no key {key}, so it is no template: bring it back by `git checkout {where}`.")


def _round_down(number: float) -> int:
    """To two digits: a limit, and no figure."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, int(number) // step * step)
