"""The network's fits end the same, whatever happens under way; its preparation holds for any table."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import params
from pipelines.candidates import Rows, mlp
from pipelines.errors import EvergreenError
from pipelines.fitting import stopping
from pipelines.fitting.networks import learn_encoding
from tests.pipelines.candidates.tables import SCHEMA, auc, graph_scores, odd, plain, planted, with_numbers

ROOT = Path(__file__).parents[3]
QUICK = {"epochs": 4, "width": 32, "patience": 4, "learning_rate": 0.01, "dropout": 0.1, "pieces": 8}
PARAMS = params.read().candidate("mlp").model_copy(update=QUICK)
FIT = f"""
from pathlib import Path
from pipelines import params
from pipelines.candidates import mlp
from tests.pipelines.candidates.tables import SCHEMA, plain, planted
section = params.read().candidate("mlp").model_copy(update={QUICK})
model = mlp.fit(planted(1500), section, seed=1, threads=1, checkpoint=Path(__import__("sys").argv[1]))
print(model.facts["epochs"])
"""


def fit(rows, update=None, **options):
    return mlp.fit(rows, PARAMS.model_copy(update=update or {}), seed=1, threads=1, **options)


def weights(model):
    return mlp.export(model, SCHEMA, plain()).SerializeToString()


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


def train_apart(folder, fault):
    """A fit in a process of its own, struck at a point."""
    environ = os.environ | {"EVERGREEN_FAULT": fault}
    return subprocess.run([sys.executable, "-c", FIT, str(folder)], cwd=ROOT, env=environ, capture_output=True, text=True)


@pytest.fixture(scope="module")
def rows():
    return planted(1500)


@pytest.fixture(scope="module")
def uninterrupted(rows):
    return fit(rows)


def test_a_killed_fit_goes_on_to_the_very_same_weights(rows, uninterrupted, tmp_path, monkeypatch):
    killed = train_apart(tmp_path, "mlp:epoch:2:kill")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    [file] = tmp_path.iterdir()
    assert torch.load(file, weights_only=True)["state"]["epoch"] == 2
    real, run = torch.randperm, []
    monkeypatch.setattr(torch, "randperm", lambda *args, **options: run.append(1) or real(*args, **options))
    resumed = fit(rows, checkpoint=tmp_path)
    assert len(run) == 2  # epochs 3 and 4: the first two are not learnt again
    assert weights(resumed) == weights(uninterrupted)
    assert resumed.facts == uninterrupted.facts
    assert (mlp.margin(resumed, rows) == mlp.margin(uninterrupted, rows)).all()


def test_a_finished_fit_is_not_learnt_again(rows, tmp_path, monkeypatch):
    first = fit(rows, checkpoint=tmp_path)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *_: pytest.fail("it learns again"))
    assert weights(fit(rows, checkpoint=tmp_path)) == weights(first)


def test_a_checkpoint_of_other_rows_or_params_is_not_continued(rows, tmp_path):
    fit(rows, checkpoint=tmp_path)
    other = planted(1500, seed=8)
    assert weights(fit(other, checkpoint=tmp_path)) == weights(fit(other))
    assert weights(fit(rows, {"dropout": 0.3}, checkpoint=tmp_path)) == weights(fit(rows, {"dropout": 0.3}))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"", lambda _: b"not one of ours"])
def test_a_torn_checkpoint_is_ignored(rows, uninterrupted, tmp_path, capsys, damage):
    fit(rows, checkpoint=tmp_path)
    [file] = tmp_path.iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert weights(fit(rows, checkpoint=tmp_path)) == weights(uninterrupted)
    assert "is ignored" in capsys.readouterr().out


def test_a_checkpoint_that_would_run_code_does_not(rows, uninterrupted, tmp_path):
    class Harm:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harmed",))

    fit(rows, checkpoint=tmp_path)
    [file] = tmp_path.iterdir()
    torch.save({"key": Harm()}, file)
    assert weights(fit(rows, checkpoint=tmp_path)) == weights(uninterrupted)
    assert not (tmp_path / "harmed").exists()


def test_a_renamed_checkpoint_of_another_fit_is_ignored(rows, uninterrupted, tmp_path):
    fit(rows, checkpoint=tmp_path)
    [ours] = tmp_path.iterdir()
    fit(planted(1500, seed=8), checkpoint=tmp_path)
    [theirs] = set(tmp_path.iterdir()) - {ours}
    theirs.replace(ours)
    assert weights(fit(rows, checkpoint=tmp_path)) == weights(uninterrupted)


@pytest.mark.parametrize(
    "error", [(torch.OutOfMemoryError, "CUDA out of memory"), (RuntimeError, "DefaultCPUAllocator: can't allocate memory")]
)
def test_out_of_memory_halves_the_rows_at_once_and_keeps_the_batch(monkeypatch, capsys, error):
    rows = planted(3000)
    enough = fit(rows, {"batch": 128})
    refuse(monkeypatch, 40, *error)
    tight = fit(rows, {"batch": 128})
    assert enough.facts["batch"] == 64
    assert tight.facts | {"best_epoch": 0} == enough.facts | {"best_epoch": 0}  # hashed: nothing of the memory at hand
    assert "epoch 1 starts again with 32, whose gradients are added up to batches of 64" in capsys.readouterr().out
    monkeypatch.undo()
    fresh = planted(3000, seed=6)
    assert auc(fresh.labels, mlp.margin(tight, fresh)) == pytest.approx(auc(fresh.labels, mlp.margin(enough, fresh)), abs=0.02)


def test_gradients_that_are_added_up_are_those_of_the_whole_batch(rows):
    """Without batch norm's and dropout's share in them: in evaluation mode."""
    from pipelines.fitting import epochs, networks

    encoding = learn_encoding(rows, 8)
    gradients = []
    for micro in (96, 32):
        torch.manual_seed(1)
        network = networks.build(encoding, width=16, layers=1, dropout=0.0, embedding=2, base=0.3)
        torch.nn.init.normal_(network["last"].weight)
        plan = epochs.Plan(1, 1, 96, 0.0, 0.0, 1)
        progress = epochs.Progress.start(network.eval(), plan, "cpu", micro)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(epochs, "UNKNOWN_RATE", 0.0)
            epochs._step(progress, mlp._data(encoding, rows), torch.arange(96))
        gradients.append([part.grad.clone() for part in network.parameters()])
    for whole, added in zip(*gradients, strict=True):
        assert torch.allclose(whole, added, atol=1e-6)


def test_out_of_memory_that_comes_later_starts_the_epoch_again(rows, monkeypatch, capsys):
    asked = refuse(monkeypatch, 10**9)
    real = torch.nn.Linear.forward

    def forward(self, inputs):
        if len(asked) == 200 and len(inputs) > 32:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, inputs)

    monkeypatch.setattr(torch.nn.Linear, "forward", forward)
    model = fit(rows)
    assert model.facts["epochs"] == 4
    assert "epoch 2 starts again with 32" in capsys.readouterr().out


def test_out_of_memory_with_few_rows_says_what_to_do(rows, monkeypatch):
    refuse(monkeypatch, 10)
    with pytest.raises(EvergreenError, match=r"32 rows at once on the CPU: lower candidates\.mlp\.width"):
        fit(rows)


def test_out_of_memory_with_few_rows_on_a_gpu_goes_on_on_the_cpu(rows, capsys):
    """The policy alone: no GPU was there to run out."""
    from pipelines.fitting import epochs, networks

    plan = epochs.Plan(4, 4, 256, 0.01, 0.0, 1)
    network = networks.build(learn_encoding(rows, 8), width=16, layers=1, dropout=0.0, embedding=2, base=0.0)
    progress = epochs.Progress.start(network, plan, "cpu", epochs.FLOOR)
    before = progress.state()
    progress.device = "cuda"
    after = epochs._smaller(progress, before, plan)
    assert (after.device, after.micro, after.epoch) == ("cpu", 256, 0)
    assert "going on on the CPU" in capsys.readouterr().out


def test_another_error_is_not_taken_for_memory(rows, monkeypatch):
    refuse(monkeypatch, 10, RuntimeError, "mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="shapes"):
        fit(rows)


def test_an_unknown_category_is_learnt_although_no_row_has_one(rows, uninterrupted):
    briefly = fit(rows, {"epochs": 1})
    unknown = torch.tensor(uninterrupted.encoding.starts)
    one, other = (model.network["table"].weight[unknown] for model in (briefly, uninterrupted))
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
    model = fit(with_numbers(rows, spoilt))
    margins = mlp.margin(model, with_numbers(fresh, numbers))
    assert (margins[1:] == mlp.margin(model, fresh)[1:]).all()
    assert abs(margins[0]) < 20
    assert auc(fresh.labels, margins) > 0.7


def test_pieces_lie_between_quantiles_and_a_constant_has_none():
    count = 1000
    numbers = np.column_stack([np.arange(count), np.full(count, 7.0), np.arange(count) % 2, np.full(count, np.nan)])
    rows = Rows(numbers.astype(np.float32), np.zeros((count, 0), np.float32), np.zeros(count), np.arange(count), ())
    encoding = learn_encoding(rows, 4)
    assert encoding.column.tolist() == [0, 0, 0, 0, 2]
    assert encoding.low[:4] == pytest.approx([5, 252, 500, 747], abs=2)
    assert (encoding.low[4], encoding.width[4]) == (0, 1)
    assert encoding.flagged.tolist() == []


@pytest.mark.parametrize("kind", ["numbers", "categories"])
def test_a_table_of_one_kind_of_columns_is_learnt_and_exported(kind, rows, tmp_path):
    from pipelines import scoring

    empty = np.zeros((len(rows.labels), 0), np.float32)
    numbers, codes = (rows.numbers, empty) if kind == "numbers" else (empty, rows.codes)
    part = Rows(numbers, codes, rows.labels, rows.customers, rows.known if kind == "categories" else ())
    model = fit(part)
    schema = {"numbers": [], "categories": {}} | {kind: SCHEMA[kind]}
    graph = mlp.export(model, schema, plain())
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    texts = [np.array(["never seen", "", *known], dtype=object) for known in SCHEMA["categories"].values()]
    categories = np.column_stack([texts[index][rows.codes[:, index].astype(int)] for index in range(len(texts))])
    feeds = {"numbers": rows.numbers} if kind == "numbers" else {"categories": categories}
    found = scoring.load_graph(tmp_path / "model.onnx", schema).session.run(["probability"], feeds)[0][:, 0]
    assert found == pytest.approx(1 / (1 + np.exp(-mlp.margin(model, part))), abs=1e-6)


def test_customers_that_stop_it_are_not_learnt_from(rows):
    """Their labels turned around: the weights after one epoch are the same."""
    aside = stopping.set_aside(rows.customers, seed=1)
    turned = Rows(rows.numbers, rows.codes, np.where(aside, 1 - rows.labels, rows.labels), rows.customers, rows.known)
    assert weights(fit(turned, {"epochs": 1})) == weights(fit(rows, {"epochs": 1}))


def test_facts_say_where_and_how_it_learnt(uninterrupted):
    size = sum(part.numel() for part in uninterrupted.network.parameters())
    facts = mlp.facts(uninterrupted)
    assert facts | {"best_epoch": 0} == {
        "device": "cpu",
        "epochs": 4,
        "best_epoch": 0,
        "batch": 64,
        "parameters": size,
    }
    assert 1 <= facts["best_epoch"] <= 4


def test_torch_is_left_as_it_was(rows):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    fit(rows, {"epochs": 1})
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_odd_rows_have_finite_scores(uninterrupted, tmp_path):
    found = graph_scores(mlp.export(uninterrupted, SCHEMA, plain()), odd(), tmp_path)
    assert np.isfinite(found).all()
