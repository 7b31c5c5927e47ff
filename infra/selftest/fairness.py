"""The bias audit, shown a group whose leavers are overlooked, one that nothing can be said of, and one that is treated well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from infra.selftest import Asked, Claim
from monitoring import audit
from pipelines import promotion
from pipelines.params import AuditParams, Params

ENTITIES = 6_000
THRESHOLD = 0.5
SHORTFALL = 0.2  # where a project's own has no limit on it


def claims(asked: Asked) -> Iterator[Claim]:
    """A harmed group is named and keeps a version out; the others do not."""
    params = asked.params.model_copy(update={"audit": _audit(asked.params.audit)})
    harmed, fair = (_verdict(params, found) for found in (0.4, 0.9))
    groups = [f"{one['attribute']} {one['group']}" for one in harmed["harmed"]]
    says = "a group of whose leavers 40% are found, where it is 90% of all others, is harmed"
    yield Claim(says, groups == ["region north"] * len(groups) and bool(groups), _seen(harmed))
    yield Claim("a group that is treated as all others is not", not fair["harmed"], _seen(fair))
    says = f"of {_few(params)} customers nothing is proven, and nothing passed"
    yield Claim(says, _is_unknown(fair), ", ".join(f"{one['group']}: {one['why']}" for one in fair["unproven"]))
    out, into = (promotion.first_verdict(EVALUATION, one, SCORES, params.promotion).outcome for one in (harmed, fair))
    yield Claim("the harmed group keeps a version out", (out, into) == ("kept", "promoted"), f"{out}; without harm {into}")


# of a version that passes every floor but, where it is so, the one for groups
FIGURES = {"roc_auc": 0.8, "log_loss": 0.3, "brier": 0.1, "calibration_error": 0.01}
EVALUATION: dict[str, Any] = {
    "challenger": "lightgbm", "baseline": "linear", "metric": "roc_auc",
    "rows": ENTITIES, "entities": ENTITIES, "positives": 1000, "base_rate": 0.2,
    "candidates": {"lightgbm": {
        "metrics": {name: {"point": value, "low": value - 0.005, "high": value + 0.005} for name, value in FIGURES.items()},
        "against_baseline": {"point": 0.02, "low": 0.01, "high": 0.03},
    }},
}  # fmt: skip
SCORES = np.linspace(0.01, 0.99, 1000)


def _verdict(params: Params, found_in_north: float) -> dict[str, Any]:
    """What the audit says of customers of whose leavers 90% are found, in the north as many as given."""
    random = np.random.default_rng(1)
    region = np.where(np.arange(ENTITIES) < _few(params), "islands", np.where(random.random(ENTITIES) < 0.3, "north", "south"))
    labels = (random.random(ENTITIES) < 0.3).astype(np.int64)
    hit = np.where(region == "north", found_in_north, 0.9)
    selected = random.random(ENTITIES) < np.where(labels == 1, hit, 0.1)
    rows = pd.DataFrame(
        {"entity": np.arange(ENTITIES), "label": labels, "score": np.where(selected, 0.8, 0.2), "group_region": region}
    )
    return audit.measure(rows, THRESHOLD, ["region"], params.audit, params.evaluate)["verdict"]


def _audit(own: AuditParams) -> AuditParams:
    """The project's; its limit on overlooked leavers is switched on where it is not."""
    return own if own.max_tpr_shortfall is not None else own.model_copy(update={"max_tpr_shortfall": SHORTFALL})


def _few(params: Params) -> int:
    """Half as many as the audit wants of a group."""
    return params.audit.min_rows // 2


def _is_unknown(verdict: dict[str, Any]) -> bool:
    return "islands" in {one["group"] for one in verdict["unproven"]} and verdict["attributes"]["region"] == "unproven"


def _seen(verdict: dict[str, Any]) -> str:
    harmed = [
        f"{one['group']}: {one['measure']} {one['point']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        for one in verdict["harmed"]
    ]
    return ", ".join(harmed) or "no harm proven"
