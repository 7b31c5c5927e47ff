"""The gate on leaks, shown rows that are honest and the ways in which the answer gets into them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from infra.selftest import Asked, Claim, grounds
from infra.selftest.grounds import Ground
from pipelines import features, leakage, split
from pipelines.checks import Check
from pipelines.params import LeakageParams, Params

AGE = "days_since_change"


def claims(asked: Asked) -> Iterator[Claim]:
    """Honest rows pass, made up on the spot and, when the gate is named, of the real tables; leaks are blocked by name."""
    ground = grounds.small(asked.params.model_copy(update={"leakage": LeakageParams(ages=[AGE], known_after=["room"])}))
    tables = [ground] if asked.quick else [ground, *grounds.load(asked.data, asked.say)]
    for table in tables:
        found = blocked(table.rows, table.params)
        yield Claim(f"honest rows pass ({table.name})", not found, "; ".join(map(str, found)) or "none blocked")
    for name, (what, column) in _leaks(ground).items():
        found = blocked(ground.rows.append_column(name, column), ground.params)
        seen = f"{found[0].type}: {found[0].observed}" if found else "it passed"
        yield Claim(f"{what} is blocked by name", name in {one.column for one in found}, seen)
    twice = pa.concat_tables([ground.rows, _under_other_keys(ground)])
    found = blocked(twice, ground.params)
    says = "rows that stand on both sides under other keys are blocked"
    yield Claim(says, "copies" in {one.type for one in found}, found[0].observed if found else "they passed")


def blocked(rows: pa.Table, params: Params) -> list[Check]:
    """What is critical and red, after the very split of a retraining."""
    divided = split.split(rows, params.data, params.split)
    schema = features.learn_schema(divided, params.data, params.features)
    sides = leakage.divide(divided, [*schema["numbers"], *schema["categories"]], params)
    return [check for check in leakage.judge(sides, params) if not check.success and check.severity == "critical"]


def _leaks(ground: Ground) -> dict[str, tuple[str, pa.Array]]:
    """Column -> what it is in words, and its values."""
    random = np.random.default_rng(1)
    labels = ground.rows[ground.params.data.target].to_numpy()
    size, noise = len(labels), random.random(len(labels))
    return {
        "status": ("the label in other words", pa.array(np.where(labels == 1, "gone", np.where(noise > 0.5, "active", "new")))),
        "fee": ("a label with a few errors", pa.array(np.where(noise < 0.01, 1 - labels, labels))),
        "closed_on": ("a column that is missing for stayers only", pa.array(noise, mask=(labels == 0) & (noise < 0.4))),
        AGE: ("a date after the row's own day", pa.array(random.integers(-9, 90, size).astype(np.float64))),
        "room": ("a column that is declared known only later", pa.array(noise)),
    }


def _under_other_keys(ground: Ground) -> pa.Table:
    name = ground.params.data.entity
    keys = pa.array([f"again {key}" for key in ground.rows[name].to_pylist()])
    return ground.rows.set_column(ground.rows.column_names.index(name), name, keys)
