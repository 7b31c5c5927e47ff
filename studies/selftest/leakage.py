"""The gate on leaks, shown rows that are honest and the ways in which the answer gets into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import features
from pipelines.config import stage
from pipelines.config.params import LeakageParams, Params
from pipelines.data import split
from pipelines.validation import leakage
from pipelines.validation.checks import Check
from studies.selftest import Asked, Claim, grounds, real
from studies.selftest.grounds import Ground

AGE = "days_since_change"
FIGURES = """# Figures of the gate on leaks

By `python -m studies.selftest leakage --data ../shared/data --out docs/studies/leakage-figures.md`.
docs/explanation/leakage.md says what they mean.

| table | what was put in | check | columns | verdict | found |
|---|---|---|---|---|---|"""


def claims(asked: Asked) -> Iterator[Claim]:
    """Honest rows pass, made up on the spot and, when the gate is named, of the real tables; leaks are blocked by name."""
    ground = grounds.small(asked.params.model_copy(update={"leakage": LeakageParams(ages=[AGE], available_after=["room"])}))
    tables = [ground] if asked.quick else [ground, *grounds.load(asked.data, asked.say)]
    for table in tables:
        found = blocked(table.rows, table.params)
        yield Claim(f"honest rows pass ({table.name})", not found, "; ".join(map(str, found)) or "none blocked")
    for name, (what, column) in _leaks(ground).items():
        found = blocked(ground.rows.append_column(name, column), ground.params)
        seen = f"{found[0].type}: {found[0].observed}" if found else "it passed"
        yield Claim(f"{what} is blocked by name", name in {one.column for one in found}, seen)
    later = _filled_later(ground)
    found = blocked(_with(ground, later), ground.params)
    names = {one.column for one in found if one.type == "together"}
    message = "columns filled in after the outcome, of which none tells the label alone, are blocked by name"
    yield Claim(message, names == {*later}, found[0].observed if found else "they passed")
    twice = pa.concat_tables([ground.rows, _under_other_keys(ground.rows, ground)])
    found = blocked(twice, ground.params)
    message = "rows that stand on both sides under other keys are blocked"
    yield Claim(message, "copies" in {one.type for one in found}, found[0].observed if found else "they passed")
    found = blocked(_of_areas(ground), ground.params)
    message = "rows that are alike because their columns describe an area pass"
    yield Claim(message, not found, found[0].observed if found else "none blocked")
    if asked.data and not asked.quick:
        yield from _real(asked, asked.data)


def _real(asked: Asked, data: Path) -> Iterator[Claim]:
    """Real tables as they are pass, and what is put into them is seen; where figures are wanted, all of them are written."""
    lines = []
    for table, fault, checks in real.figures(asked.params, data, asked.say):
        red = [check for check in checks if not check.success]
        wanted = ("copies",) if "twice" in fault else ("together",) if fault else ("together", "copies")
        lines += [_line(table, fault, [check for check in checks if check.type == name]) for name in wanted]
        critical = {one.type for one in red if one.severity == "critical"}
        if not fault and table not in real.CLUSTERED:
            yield Claim(f"{table} as it is passes", not critical, ", ".join(sorted(critical)) or "none blocked")
        elif "filled in" in fault:
            yield Claim(f"{table}, {fault}: blocked", "together" in critical, ", ".join(sorted(critical)) or "it passed")
        elif "score" in fault:
            named = any(one.column == "score" for one in red)
            yield Claim(f"{table}, {fault}: named", named, "named" if named else "not a word")
    if asked.out:
        stage.write_text(asked.out, "\n".join([FIGURES, *lines]) + "\n")


def _line(table: str, fault: str, checks: list[Check]) -> str:
    """One check of a table, which may speak of several columns."""
    (first, *_), columns = checks, ", ".join(check.column for check in checks if check.column)
    verdict = "passes" if first.success else "blocked" if first.severity == "critical" else "warning"
    return f"| {table} | {fault or 'as it is'} | {first.type} | {columns} | {verdict} | {first.observed} |"


def blocked(rows: pa.Table, params: Params) -> list[Check]:
    """What is critical and red, after the very split of a retraining."""
    divided = split.split(rows, params.data, params.split)
    schema = features.learn_schema(rows, params.data, params.features)
    sides = leakage.divide(divided, schema, params)
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


def _filled_later(ground: Ground) -> dict[str, pa.Array]:
    """Three columns, each there for most of the positives and few others."""
    random = np.random.default_rng(2)
    labels = ground.rows[ground.params.data.target].to_numpy()
    shares = np.where(labels == 1, 0.8, 0.02)
    names = ("refund", "exit_reason", "final_bill")
    return {name: pa.array(random.random(len(labels)), mask=random.random(len(labels)) >= shares) for name in names}


def _of_areas(ground: Ground) -> pa.Table:
    """The customers, of whom nothing is known but their area, by ten columns."""
    random, data = np.random.default_rng(3), ground.params.data
    codes = ground.rows[data.entity].combine_chunks().dictionary_encode().indices.to_numpy()
    area = random.integers(0, 40, codes.max() + 1)[codes]
    columns = {f"a{number}": pa.array(random.integers(0, 10, 40)[area]) for number in range(10)}
    return _with(ground, columns).select([*data.key_columns, data.target, *columns])


def _with(ground: Ground, columns: dict[str, pa.Array]) -> pa.Table:
    rows = ground.rows
    for name, column in columns.items():
        rows = rows.append_column(name, column)
    return rows


def _under_other_keys(rows: pa.Table, ground: Ground) -> pa.Table:
    """The same rows, and none of their entities."""
    name = ground.params.data.entity
    keys = pa.array([f"again {key}" for key in rows[name].to_pylist()])
    return rows.set_column(rows.column_names.index(name), name, keys)
