"""Latency: two real graphs, measured in turns, so that what slows the machine slows both."""

from __future__ import annotations

import pytest

from pipelines import onnx_model
from pipelines.evaluation import latency
from pipelines.promotion import gate
from tests.support import bundles


@pytest.fixture
def rows():
    return bundles.held_out_rows()


def load(folder, weights):
    return onnx_model.load(bundles.write(folder, weights))


def test_both_are_measured_on_one_row_and_on_a_thousand(tmp_path, rows):
    single, batch = latency.measure(load(tmp_path / "one", {"strong": 1.0}), load(tmp_path / "two", {"weak": 1.0}), rows)
    assert (single.rows, batch.rows) == (1, 1000)
    for one in (single, batch):
        assert 0 < one.champion < 1e5 and 0 < one.challenger < 1e5


def test_rounds_take_turns_and_neither_always_begins(tmp_path, rows):
    ran: list[str] = []
    names = {"challenger": load(tmp_path / "one", {"strong": 1.0}), "champion": load(tmp_path / "two", {"weak": 1.0})}

    def noting(name):
        run = names[name].ready(rows.slice(0, 1))
        return lambda: (ran.append(name), run())

    latency._in_turns(noting("challenger"), noting("champion"), 1, runs=1)
    pairs = list(zip(ran[::2], ran[1::2], strict=True))
    assert len(pairs) == latency.ROUNDS + 1
    assert set(pairs) == {("champion", "challenger"), ("challenger", "champion")}
    assert pairs[0] != pairs[1]


def test_the_gate_keeps_out_a_better_file_that_is_slower_than_allowed(tmp_path, rows):
    """A factor of 1 and no allowance: a graph of a thousand more numbers to add up is slower, whatever the machine does."""
    champion = gate.Bundle(bundles.write(tmp_path / "champion", {"strong": 1.5}))
    heavy = {"strong": 1.5, "weak": 1.0} | {f"nothing_{number}": 0.0 for number in range(1000)}
    challenger = gate.Bundle(bundles.write(tmp_path / "challenger", heavy))
    for name in heavy:
        if name.startswith("nothing"):
            rows = rows.append_column(name, rows["weak"])
    strict = {"max_latency_factor": 1.0, "latency_allowance_us": 0.0, "batch_allowance_us": 0.0, "metric": "roc_auc"}
    params = bundles.params(promotion=bundles.PROMOTION.model_copy(update=strict))
    verdict = gate.judge(challenger, champion, rows, {}, params)
    assert verdict.finding == "not as good elsewhere"
    assert "latency of 1,000 rows not inferior" in verdict.headline
