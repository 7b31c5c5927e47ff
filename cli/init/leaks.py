"""Columns that know the answer, and labels that are not final: what only a look at the rows together can show."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from cli.init.columns import Advice, LeftOut
from cli.init.measure import TrainingSet
from cli.init.names import quoted
from cli.init.plan import Plan

CERTAIN = 0.98  # ROC-AUC of a column alone: the answer, written down somewhere else
SUSPICIOUS = 0.90
UNRIPE = 0.5  # of the usual share of positives: the newest months look as if labels were still to come


def certain(plan: Plan, found: TrainingSet) -> list[LeftOut]:
    """Columns that a model would see, and that tell the label by themselves."""
    sources, learnt = {feature.name: feature.source for feature in plan.features}, {one.name for one in plan.learnt}
    return [
        LeftOut(sources[column.name], f"looks like a leak: alone it tells the label with a ROC-AUC of {column.auc:.3f}")
        for column in found.columns
        if column.name in learnt and column.auc >= CERTAIN
    ]


def suspicious(plan: Plan, found: TrainingSet) -> Iterator[Advice]:
    """Columns that tell much by themselves, and labels that seem to be still to come."""
    sources, learnt = {feature.name: feature.source for feature in plan.features}, {one.name for one in plan.learnt}
    for column in found.columns:
        if column.name in learnt and SUSPICIOUS <= column.auc < CERTAIN:
            message = f"alone it predicts the label with a ROC-AUC of {column.auc:.3f}. When is it known?"
            yield Advice(quoted(sources[column.name]), f"{message} If after the outcome: --available-after.")
    if unripe := _unripe(found):
        yield Advice("--horizon", unripe)


def _unripe(found: TrainingSet) -> str | None:
    """Months, or days, at the end of what is read whose share of positives is far below the usual one."""
    days = [(day, positives / rows) for day, rows, positives in found.snapshots if rows >= 20]
    if len(days) < 4:
        return None
    usual = median(share for _, share in days)
    low = []
    for day, share in reversed(days):
        if share >= UNRIPE * usual:
            break
        low.append(day)
    if not low or len(low) > len(days) / 2:
        return None
    return (
        f"from {low[-1]} on few rows are positive ({days[-1][1]:.1%} on {days[-1][0]}, {usual:.1%} usually): are those labels "
        "final? Give the days until they are by --horizon."
    )
