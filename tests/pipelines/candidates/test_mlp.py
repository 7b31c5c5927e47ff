"""The network's fits are reproducible; its preparation holds for any table."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.training.candidates import Rows, mlp
from pipelines.training.fitting import stopping
from pipelines.training.fitting.networks import learn_encoding
from tests.support.candidate_tables import SCHEMA, auc, graph_of, graph_scores, odd, planted

QUICK = {"epochs": 4, "width": 32, "patience": 4, "learning_rate": 0.01, "dropout": 0.1, "bins": 8}
PARAMS = params.read().candidate("mlp").model_copy(update=QUICK)


def fit(rows, update=None, **options):
    return mlp.fit(rows, PARAMS.model_copy(update=update or {}), seed=1, threads=1, **options)


def weights(model):
    return graph_of(mlp, [model]).SerializeToString()


def refuse(monkeypatch, most, error=torch.OutOfMemoryError, message="CUDA out of memory"):
    """A machine whose memory holds no layer of more than `most` rows; the sizes that were asked for."""
    real, asked = torch.nn.Linear.forward, []

    def forward(self, inputs):
        asked.append(len(inputs))
        if len(inputs) > most:
            raise error(message)
        return real(self, inputs)

    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    return asked


@pytest.fixture(scope="module")
def rows():
    return planted(1500)


@pytest.fixture(scope="module")
def fitted(rows):
    return fit(rows)


@pytest.mark.parametrize(
    "error",
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
        (MemoryError, ""),
    ],
)
def test_out_of_memory_says_what_to_do(rows, monkeypatch, error):
    refuse(monkeypatch, 10, *error)
    with pytest.raises(
        EvergreenError, match=r"Out of memory on the cpu with 1,\d+ rows and batches of 64: lower candidates\.mlp"
    ):
        fit(rows)


def test_another_error_is_not_taken_for_memory(rows, monkeypatch):
    refuse(monkeypatch, 10, RuntimeError, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        fit(rows)


def test_an_unknown_category_is_learnt_although_no_row_has_one(rows, fitted):
    briefly = fit(rows, {"epochs": 1})
    unknown = torch.tensor(fitted.encoding.starts)
    one, other = (model.network["table"].weight[unknown] for model in (briefly, fitted))
    assert not torch.equal(one, other)


def test_a_code_that_was_never_seen_counts_as_unknown(rows):
    """A payment is missing (code 1) in some rows, a contract in none."""
    encoding = learn_encoding(rows, 8)
    contract, payment = encoding.starts
    assert encoding.places(np.array([[0, 0], [1, 1], [2, 3]])).tolist() == [
        [contract, payment],
        [contract, payment + 1],
        [contract + 2, payment + 3],
    ]


def test_an_outlier_moves_no_other_rows_score(rows):
    fresh = planted(500, seed=6)
    numbers = fresh.numbers.copy()
    numbers[0, 1] = 1e30
    spoilt = rows.numbers.copy()
    spoilt[3, 1] = 1e30
    model = fit(replace(rows, numbers=spoilt))
    margins = mlp.margin(model, replace(fresh, numbers=numbers))
    assert (margins[1:] == mlp.margin(model, fresh)[1:]).all()
    assert abs(margins[0]) < 20
    assert auc(fresh.labels, margins) > 0.7


def test_pieces_lie_between_quantiles_and_a_constant_has_none():
    count = 1000
    numbers = np.column_stack([np.arange(count), np.full(count, 7.0), np.arange(count) % 2, np.full(count, np.nan)])
    rows = Rows(
        numbers.astype(np.float32), np.zeros((count, 0), np.float32), np.zeros(count), np.arange(count), np.ones(count), ()
    )
    encoding = learn_encoding(rows, 4)
    assert encoding.column.tolist() == [0, 0, 0, 0, 2]
    assert encoding.low[:4] == pytest.approx([5, 252, 500, 747], abs=2)
    assert (encoding.low[4], encoding.width[4]) == (0, 1)
    assert encoding.flagged.tolist() == []


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_a_table_of_one_kind_of_columns_is_learnt_and_exported(kind, rows, tmp_path):
    from pipelines import onnx_model

    empty = np.zeros((len(rows.labels), 0), np.float32)
    numbers, codes = (rows.numbers, empty) if kind == "numbers" else (empty, rows.codes)
    part = replace(rows, numbers=numbers, codes=codes, category_counts=rows.category_counts if kind == "categories" else ())
    model = fit(part)
    schema = {"numbers": [], "categories": {}} | {kind: SCHEMA[kind]}
    graph = graph_of(mlp, [model], schema)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    texts = [np.array(["never seen", "", *known], dtype=object) for known in SCHEMA["categories"].values()]
    categories = np.column_stack([texts[index][rows.codes[:, index].astype(int)] for index in range(len(texts))])
    feeds = {"numbers": rows.numbers} if kind == "numbers" else {"categories": categories}
    found = onnx_model.load_graph(tmp_path / "model.onnx", schema).session.run(["probability"], feeds)[0][:, 0]
    assert found == pytest.approx(1 / (1 + np.exp(-mlp.margin(model, part))), abs=1e-6)


def test_customers_that_stop_it_are_not_learnt_from(rows):
    """Their labels turned around: the weights after one epoch are the same."""
    aside = stopping.validation_rows(rows.entities, seed=1)
    turned = replace(rows, labels=np.where(aside, 1 - rows.labels, rows.labels))
    assert weights(fit(turned, {"epochs": 1})) == weights(fit(rows, {"epochs": 1}))


def test_of_customers_that_stop_it_each_row_counts_its_weight(rows):
    """Those that count nothing cannot say which epoch is best, whatever their labels are."""
    aside = np.flatnonzero(stopping.validation_rows(rows.entities, seed=1))
    silent = replace(rows, weights=rows.weights.copy())
    silent.weights[aside[: len(aside) // 2]] = 0
    labels = rows.labels.copy()
    labels[aside[: len(aside) // 2]] = 1 - labels[aside[: len(aside) // 2]]
    assert weights(fit(replace(silent, labels=labels))) == weights(fit(silent))


def test_facts_say_where_and_how_it_learnt(fitted):
    size = sum(part.numel() for part in fitted.network.parameters())
    metadata = mlp.metadata(fitted)
    assert metadata | {"best_epoch": 0} == {
        "device": "cpu",
        "epochs": 4,
        "best_epoch": 0,
        "batch": 64,
        "parameters": size,
    }
    assert 1 <= metadata["best_epoch"] <= 4


def test_torch_is_left_as_it_was(rows):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    fit(rows, {"epochs": 1})
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_odd_rows_have_finite_scores(fitted, tmp_path):
    found = graph_scores(graph_of(mlp, [fitted]), odd(), tmp_path)
    assert np.isfinite(found).all()
