"""params.yaml for a table: the clone's own file, with its comments and reasons; what is of the table changes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from cli.init import columns
from cli.init.measure import TrainingSet
from cli.init.plan import HISTORY, SNAPSHOT, Plan
from cli.init.target import LEAST
from cli.init.yaml_text import flow
from pipelines.config import params
from pipelines.config.errors import EvergreenError

COMMENT_AT = 30
SMALL = 20_000  # rows: more folds cost seconds, and each of their models sees more


def written(template: str, where: str, plan: Plan, found: TrainingSet) -> str:
    """The template's text with the values of this table and their reasons.

    Raises:
        EvergreenError: the template lacks a key that is to be set.
    """
    lines = template.splitlines()
    for key, value, reason in [*_names(plan), *_data(plan), *_gates(plan, found), *_wording(), *_promoting(), *_watching(plan)]:
        _set(lines, key, value, reason, where)
    modeline = [lines.pop(0)] if lines[0].startswith("# yaml-language-server:") else []  # editors look for it in the first line
    head = f"# Of {plan.relation.described}. Written by `evergreen init`, yours to change."
    text = "\n".join([*modeline, head, *lines]) + "\n"
    params.parse(text, "the params.yaml that init has made")  # whoever changed a key of params.py hears of it
    return text


def smallest_pin(plan: Plan, found: TrainingSet) -> tuple[date | None, int]:
    """The earliest pin that has enough to learn from and to judge, and the fewest rows of a pin from then on.

    Enough are LEAST rows of either label, and two snapshots. None: the table has no clock, or the whole of it is the only such
    pin.
    """
    if not plan.time:
        return None, found.rows
    ends = [day for day, _, _ in found.snapshots]
    first, fewest = None, found.rows
    for newest in reversed(range(1, len(ends))):
        as_of = ends[newest] + timedelta(days=plan.horizon_days)
        since = as_of - timedelta(days=plan.time.history_days)
        pinned = [(rows, positives) for day, rows, positives in found.snapshots[: newest + 1] if day >= since]
        rows, positives = (sum(counts) for counts in zip(*pinned, strict=True))
        if min(positives, rows - positives) < LEAST:
            break
        first, fewest = as_of, min(fewest, rows)
    return first, fewest


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
    own = "names a row; those of one entity are kept together" if plan.key.source else by_content
    yield "data.row_key", plan.row.name if plan.row else None, own if plan.row else None
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
    first, fewest = smallest_pin(plan, found)
    since = f"pins from {first} on have {fewest:,} and more" if first else f"the table gave {found.rows:,}"
    yield "validate.min_rows", _round_down(0.7 * fewest), f"{since}: far fewer is a broken load"
    small = found.rows < SMALL
    few = "of few rows each model is to see as many as can be" if small else "a model for each, which does not see its entities"
    yield "split.folds", 8 if small else 5, few
    if small:
        five = {"linear": "cpu", "forest": "cpu", "boosting": "cpu", "lightgbm": "cpu", "mlp": "gpu"}
        yield "candidates.enabled", five, None
        yield "tune.trials", 9, "a candidate, the params below among them; of few rows they cost seconds"
        yield "evaluate.simplest_within", 0.0, "standard errors of the best: of those so near the smallest graph; 0: the best"
    yield "features.exclude", list(plan.exclude), None
    yield "features.texts", _text_rules(plan), "what training_set.sql does to texts: the API does it too"
    ages = [feature.name for feature in plan.learnt if plan.time and feature.expression.startswith(columns.ago(plan.time.day))]
    yield "leakage.ages", ages, None
    yield "leakage.available_after", list(plan.available_after), None


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
    reason = "of a group's positives the model may find this share less often, beyond risks: docs/explanation/fairness.md"
    yield "audit.max_tpr_shortfall", ..., reason
    yield "audit.max_fpr_excess", ..., "null is not judged. Set it where being selected is a burden"
    yield (
        "audit.max_underestimation",
        ...,
        "of a group's positives, that its scores do not expect, beyond the others'",
    )


def _promoting() -> Iterator[tuple[str, Any, str | None]]:
    """What wrong decisions cost is what counts; the demo, whose retrainings gain in the order of scores, says otherwise."""
    yield "promotion.metric", "cost", "of wrong decisions, a row; or roc_auc, log_loss, ...: docs/explanation/promotion.md"
    yield "promotion.min_effect", 0.002, "in the metric's unit; of cost a false alarm's is 1. Take 1% of what decisions cost"
    yield "promotion.max_cost_loss", ..., "of what the champion's decisions cost, where another metric decides"


def _watching(plan: Plan) -> Iterator[tuple[str, Any, str | None]]:
    snapshot_policy, reason = "latest", "the table is scored as a whole: one day has everyone"
    if plan.time and not plan.time.everyone_daily:
        snapshot_policy, reason = "every", "a row comes on its own day; `latest` where everyone is there every day"
    elif plan.time:
        reason = "everyone is there every day, so one day has them all"
    yield "monitor.snapshot_policy", snapshot_policy, reason
    yield (
        "monitor.per_unit_columns",
        {},
        "sums since the beginning, such as {total_charges: tenure_months}: watched a unit of the second",
    )
    growing = [feature.name for feature in plan.learnt if columns.grows(feature)]
    yield (
        "monitor.non_stationary_columns",
        growing,
        "columns that grow with the calendar, such as an age: their shape is not judged",
    )


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
            inner = len(found[1]) - len(found[1].lstrip()) + 1
            while at + 1 < len(lines) and (
                (reason and re.match(r" {10,}#", lines[at + 1]))  # the rest of the old reason
                or (value is not ... and re.match(rf" {{{inner},}}[^ #]", lines[at + 1]))  # of an old value in several lines
            ):
                del lines[at + 1]
            return
    raise EvergreenError(f"{where} has no key {key}, so it is no template: bring it back by `git checkout {where}`.")


def _round_down(number: float) -> int:
    """To two digits: a limit, and no figure."""
    step = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, int(number) // step * step)
