"""The bias audit, shown a group whose leavers are overlooked, one that nothing can be said of, and one that is treated well.

In full also tables like a census, where base rates differ by a factor of five: honest models, and ones that do a group harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from monitoring.stages import audit
from pipelines.config.params import AuditParams, Params
from pipelines.promotion import comparison
from pipelines.statistics.fairness import Floats, Mask
from studies.selftest import Asked, Claim

ENTITIES = 6_000
THRESHOLD = 0.5
SHORTFALL = 0.1  # where a project's own has no limit on it
PEOPLE = 40_000  # of a table like a census; half of them judge
RESAMPLES = 200  # of them: a hundred audits and more are made
UNTOLD_SHARE = 0.7
LEAST_FOUND = 0.9


def claims(asked: Asked) -> Iterator[Claim]:
    """A harmed group is named and keeps a version out; the others do not."""
    params = asked.params.model_copy(update={"audit": _audit(asked.params.audit)})
    harmed, fair = (_verdict(params, found) for found in (0.4, 0.9))
    groups = [f"{one['attribute']} {one['group']}" for one in harmed["harmed"]]
    message = "a group of whose leavers 40% are found, where it is 90% of all others, is harmed"
    yield Claim(message, groups == ["region north"] * len(groups) and bool(groups), _seen(harmed))
    yield Claim("a group that is treated as all others is not", not fair["harmed"], _seen(fair))
    message = f"of {_few(params)} customers nothing is proven, and nothing passed"
    yield Claim(message, _is_unknown(fair), ", ".join(f"{one['group']}: {one['why']}" for one in fair["inconclusive"]))
    out, into = (comparison.first_verdict(EVALUATION, one, SCORES, params.promotion).outcome for one in (harmed, fair))
    yield Claim("the harmed group keeps a version out", (out, into) == ("rejected", "promoted"), f"{out}; without harm {into}")
    if not asked.quick:
        yield from _census(params, asked)


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


def _census(params: Params, asked: Asked) -> Iterator[Claim]:
    """Of a tenth of `asked.size` tables each: an honest model, and the ways in which a model can be worse for the disabled."""
    tables = max(2, asked.size // 10)
    params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"bootstrap": RESAMPLES})})
    seen: dict[str, list[dict[str, Any]]] = {name: [] for name in ("honest", *HARMS)}
    for number in range(tables):
        table = census(np.random.default_rng(number), PEOPLE)
        for name, found in seen.items():
            found.append(_of_census(table, HARMS.get(name), params, number))
        asked.say(f"  {number + 1} of {tables} tables like a census")
    blocked = {name: sum(bool(found["verdict"]["harmed"]) for found in listed) for name, listed in seen.items()}
    gaps = [one["raw"]["point"] for found in seen["honest"] for one in found["split"] if one["rate"] == "TPR shortfall"]
    shown = f"{blocked['honest']} were; their gaps in TPR reach {max(gaps):.2f}"
    yield Claim(f"of {tables} honest models where base rates differ at most 1 is blocked", blocked["honest"] <= 1, shown)
    for name in HARMS:
        least = int(LEAST_FOUND * tables)
        message = f"of {tables} models with {name} for the disabled at least {least} are blocked"
        yield Claim(message, blocked[name] >= least, f"{blocked[name]} were")


def census(random: np.random.Generator, size: int) -> pd.DataFrame:
    """Adults and whether they work: a fifth as often where disabled, and where 60 or over. Grain: a person."""
    old, disabled = random.random(size) < 0.35, random.random(size) < 0.2
    schooling, health, luck = random.normal(size=(3, size))
    odds = 0.9 - 2.3 * old - 2.1 * disabled + 0.9 * schooling + 0.6 * health + 0.3 * luck
    return pd.DataFrame(
        {
            "label": (random.random(size) < 1 / (1 + np.exp(-odds))).astype(np.int64),
            "old": old.astype(float),
            "disabled": disabled.astype(float),
            "schooling": schooling,
            "health": health + 0.5 * random.normal(size=size),
        }
    )


def _of_census(table: pd.DataFrame, harm: Harm | None, params: Params, seed: int) -> dict[str, Any]:
    """The audit of a model that is fitted to half of the people, of the other half."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(1_000 + seed)
    train, test = table[: PEOPLE // 2], table[PEOPLE // 2 :]
    numbers = ["old", "disabled", "schooling", "health"]
    disabled = test["disabled"].to_numpy() == 1
    labels = train["label"].to_numpy()
    if harm is HARMS[UNTOLD]:
        labels = np.where((train["disabled"] == 1) & (random.random(len(train)) < UNTOLD_SHARE), 0, labels)
    scores = LogisticRegression().fit(train[numbers], labels).predict_proba(test[numbers])[:, 1]
    rows = pd.DataFrame(
        {
            "entity": np.arange(len(test)),
            "label": test["label"].to_numpy(),
            "score": harm(scores, disabled, random) if harm else scores,
            "group_disabled": np.where(disabled, "yes", "no").astype(object),
            "group_age": np.where(test["old"] == 1, "60 and over", "below 60").astype(object),
        }
    )
    return audit.measure(rows, THRESHOLD, ["disabled", "age"], params.audit, params.evaluate)


def _lowered(scores: Floats, group: Mask, _: np.random.Generator) -> Floats:
    return np.where(group, scores / 2, scores)


def _shrunk(scores: Floats, group: Mask, _: np.random.Generator) -> Floats:
    middle = scores[group].mean()
    return np.where(group, middle + 0.3 * (scores - middle), scores)


def _cut_off(scores: Floats, group: Mask, _: np.random.Generator) -> Floats:
    """As a threshold that is higher for them does."""
    return np.where(group & (scores >= THRESHOLD) & (scores < 0.9), THRESHOLD - 0.01, scores)


def _mixed(scores: Floats, group: Mask, random: np.random.Generator) -> Floats:
    mixed = scores.copy()
    mixed[group] = random.permutation(scores[group])
    return mixed


Harm = Callable[[Floats, Mask, np.random.Generator], Floats]
UNTOLD = "70% of labels hidden in training"
HARMS: dict[str, Harm] = {
    UNTOLD: lambda scores, *_: scores,
    "halved scores": _lowered,
    "scores shrunk to their mean": _shrunk,
    "a threshold raised to 0.9": _cut_off,
    "scores that are dealt out anew": _mixed,
}


def _audit(own: AuditParams) -> AuditParams:
    """The project's; its limit on overlooked leavers is switched on where it is not."""
    return own if own.max_tpr_shortfall is not None else own.model_copy(update={"max_tpr_shortfall": SHORTFALL})


def _few(params: Params) -> int:
    """Half as many as the audit wants of a group."""
    return params.audit.min_rows // 2


def _is_unknown(verdict: dict[str, Any]) -> bool:
    return "islands" in {one["group"] for one in verdict["inconclusive"]} and verdict["attributes"]["region"] == "inconclusive"


def _seen(verdict: dict[str, Any]) -> str:
    harmed = [
        f"{one['group']}: {one['measure']} {one['point']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"
        for one in verdict["harmed"]
    ]
    return ", ".join(harmed) or "no harm proven"
