"""The data gate's trial: corruptions change what they name and nothing else, and a part of the gate that is gone is noticed."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pipelines.config import params
from pipelines.validation import counting
from pipelines.validation.expectations import Result
from studies.selftest import Asked, corruptions, grounds, power, validation
from studies.selftest.corruptions import KINDS, Load
from studies.selftest.grounds import Ground

BY_NAME = {kind.name: kind for kind in KINDS}
ALL_ROWS = {"type change", "renamed column", "dropped columns"}  # what a column has one of
ROWS, DAYS = 300, [dt.date(2025, month, 28) for month in range(1, 7)]


@pytest.fixture
def ground() -> Ground:
    return grounds.small(params.read())


def load(ground: Ground, seed: int = 0) -> Load:
    newest = np.asarray(pc.equal(ground.rows["day"], pa.scalar(DAYS[-1])))
    return Load(ground.rows, ground.params.data, ground.learnt, newest, np.random.default_rng(seed))


def test_thirty_kinds_at_three_strengths_most_of_which_must_be_seen() -> None:
    assert len(KINDS) == len(BY_NAME) == 30
    assert all(len(kind.strengths) == 3 for kind in KINDS)
    assert sum(kind.must for kind in KINDS) >= 20


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_corruption_changes_the_newest_load_in_the_columns_it_names(ground: Ground, kind: corruptions.Kind) -> None:
    before = load(ground)
    for strength, _ in kind.strengths:
        planted = kind.plant(load(ground), strength)
        assert planted is not None
        rows = planted.rows
        assert not rows.equals(ground.rows)
        if kind.name in ALL_ROWS or rows.num_rows != ground.rows.num_rows:
            continue
        changed = [name for name in rows.column_names if not rows[name].equals(ground.rows[name].cast(rows[name].type))]
        assert set(changed) == set(planted.columns) or set(changed) <= {"left", *planted.columns}
        if kind.name not in ("one-class labels", "labels in other codes"):
            old = pa.array(~before.newest)
            assert rows.select(changed).filter(old).to_pylist() == ground.rows.select(changed).filter(old).to_pylist()


def test_the_same_seed_hits_the_same_column_and_another_may_hit_another(ground: Ground) -> None:
    hit = [BY_NAME["null burst"].plant(load(ground, seed), 0.3) for seed in (1, 1, 2, 3, 4, 5)]
    assert hit[0].columns == hit[1].columns and hit[0].rows.equals(hit[1].rows)
    assert len({one.columns for one in hit}) > 1


def tried(ground: Ground, name: str, place: int = 0) -> power.Trial:
    kind = BY_NAME[name]
    found = validation.tried(ground, ground.suite(), kind, *kind.strengths[place], seed=3)
    assert found is not None
    return found


def test_a_fault_is_blocked_and_named_and_is_not_where_the_gate_does_not_look(ground: Ground, monkeypatch) -> None:
    assert tried(ground, "unit, up", 2).named
    always = Result(True, "not looked at")
    levels = {name: (count, lambda *_: always) for name, (count, _) in counting.SAMPLED.items()}
    monkeypatch.setattr(counting, "SAMPLED", levels)
    counted = {name: (count, lambda *_: always) for name, (count, _) in counting.COUNTED.items()}
    monkeypatch.setattr(counting, "COUNTED", counted)
    missed = tried(ground, "unit, up", 2)
    assert not missed.blocked and not missed.named
    claim = validation.must_claim([missed])
    assert not claim.holds and "unit, up x 10" in claim.seen


def test_clean_rows_pass_and_a_gate_that_blocks_everything_does_not(ground: Ground, monkeypatch) -> None:
    assert validation.clean_claim([ground], 6, print).holds
    never = Result(False, "never good enough")
    counted = {name: (count, lambda *_: never) for name, (count, _) in counting.COUNTED.items()}
    monkeypatch.setattr(counting, "COUNTED", counted)
    assert not validation.clean_claim([ground], 6, print).holds


def test_resamples_keep_whole_entities_each_under_a_key_of_its_own(ground: Ground) -> None:
    drawn = ground.resampled(1)
    sizes = pc.value_counts(drawn.rows["customer"]).field("counts").to_pylist()
    assert set(sizes) == {len(DAYS)} and len(sizes) == ROWS
    assert not drawn.rows["amount"].equals(ground.rows["amount"])


def test_the_table_says_what_was_blocked_and_the_picture_is_drawn(ground: Ground, tmp_path: Path) -> None:
    trials = [tried(ground, "null burst"), tried(ground, "mean shifted")]
    power.write(trials, [validation.must_claim(trials[:1])], tmp_path / "figures.md")
    text = (tmp_path / "figures.md").read_text()
    assert "| null burst | 100% of the load's rows | 1 of 1 |" in text
    assert "| broken encoding | 5% of the load's rows | - |" in text
    assert (tmp_path / "figures.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.long
def test_the_demos_table_and_two_seeds_hold() -> None:
    claims = list(validation.claims(Asked(print, params.read(), size=20)))
    assert [claim.holds for claim in claims] == [True, True], [claim.seen for claim in claims]
