"""The bundle: every file accounted for, and the same bytes from the same inputs."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import onnx_model
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.evaluation import package
from pipelines.stages import package as package_stage

FIGURE = {"point": 0.5, "low": 0.4, "high": 0.6}
CANDIDATE = {
    "threshold": 0.25,
    "metrics": {"roc_auc": FIGURE, "precision": {"point": None, "low": None, "high": None}},
    "against_baseline": FIGURE,
    "newest": {"roc_auc": FIGURE},
}
GAP = {"roc_auc": {"behind": 0.0012, "error": 0.002}, "log_loss": {"behind": 0.0, "error": 0.001}}
NEWEST = {"from": "2024-11-30", "to": "2024-12-31", "rows": 100, "entities": 90, "positives": 20}
EVALUATION = {
    "challenger": "lightgbm", "baseline": "linear", "metric": "roc_auc", "rows": 1000, "newest": NEWEST, "entities": 300,
    "positives": 50, "base_rate": 0.05, "origins": [], "candidates": {"linear": CANDIDATE, "lightgbm": CANDIDATE},
    "choice": {"challenger": "lightgbm", "best": "lightgbm", "candidates": {"linear": GAP, "lightgbm": GAP, "ensemble": GAP}},
}  # fmt: skip
RATES = {name: {"value": FIGURE} for name in ("selection_rate", "tpr", "fpr")}
GROUP = {"group": "f", "rows": 500, "rates": RATES, "evidence": "insufficient evidence"}
SPLIT = [{"attribute": "gender", "group": "f", "rate": "TPR shortfall", "raw": FIGURE, "explained": FIGURE, "added": None}]
MANIFEST = {"rows": 1000, "as_of": "2024-12-31", "fingerprint": "abc", "binds": {}, "columns": {}, "sql_sha256": "d"}
SCHEMA = {"numbers": ["tenure"], "categories": {"plan": ["basic"]}, "ranges": {"tenure": [0, 70]}}
SAMPLE = pa.table({"gender": ["f", "m", "f"], "tenure": pa.array([1, None, 70]), "plan": ["basic", None, "fiber"]})

TRIALS = [{"number": 0, "state": "COMPLETE", "params": {"num_leaves": 15}, "parts": [0.8, 0.8], "value": 0.8},
          {"number": 1, "state": "PRUNED", "params": {"num_leaves": 3}, "parts": [0.6], "value": None},
          {"number": 2, "state": "COMPLETE", "params": {"num_leaves": 7}, "parts": [0.9, 0.9], "value": 0.9}]  # fmt: skip
TRAINING = {
    "params": {"num_leaves": 7, "lambda_l2": 0.123456789}, "calibration": "isotonic", "roc_auc": 0.85, "rows": 1000,
    "metadata": {"device_class": "cpu", "models": 5},
}  # fmt: skip


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A packaged bundle, in a folder that holds params.yaml."""
    text = Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    for name, value in {"manifest": MANIFEST, "schema": SCHEMA, "evaluation": EVALUATION}.items():
        stage.write_json(Path(f"{name}.json"), value)
    accepted = [
        {"attribute": "gender", "group": "f", "measure": "added TPR shortfall", "reason": "agreed with the union"} | FIGURE
    ]
    verdict = {"attributes": {"gender": "inconclusive"}, "accepted": accepted}
    stage.write_json(Path("audit.json"), {"attributes": {"gender": [GROUP]}, "split": SPLIT, "verdict": verdict})
    Path("models/lightgbm").mkdir(parents=True)
    Path("models/lightgbm/model.onnx").write_bytes(b"graph")
    stage.write_json(Path("models/lightgbm/training.json"), TRAINING)
    stage.write_json(Path("recency.json"), {"by_fold": ["2025-03-31", None], "overall": "2025-03-31", "tried": []})
    tuning = {"metric": "roc_auc", "best": 2, "stopped": None, "trials": TRIALS}
    stage.write_json(Path("models/lightgbm/trials.json"), tuning)
    return pack("bundle")


def pack(folder):
    inputs = {name: Path(f"{name}.json") for name in ("manifest", "schema", "evaluation", "audit", "reference")}
    inputs["past"] = Path("recency.json")
    Path("reference.json").write_text("{}")
    pq.write_table(SAMPLE, "reference.parquet")
    package_stage.main(
        sample=Path("reference.parquet"), models=Path("models"), ensemble=Path("ensemble"), bundle=Path(folder), **inputs
    )
    return Path(folder)


def test_the_manifest_names_every_file_with_its_digest(made):
    files = json.loads((made / "manifest.json").read_text())["files"]
    described = {"schema.json", "evaluation.json", "audit.json", "reference.json", "reference.parquet"}
    assert files.keys() == {"model.onnx", "decision.json", "serving.json", "background.json", "card.md", *described}
    onnx_model.verify(made, files | {"manifest.json": stage.sha256(made / "manifest.json")})


def test_packing_again_gives_the_same_bytes(made):
    assert stage.sha256(pack("again") / "manifest.json") == stage.sha256(made / "manifest.json")


def test_the_api_is_told_tiers_in_probabilities_and_rows_to_compare_with(made):
    found = json.loads((made / "serving.json").read_text())
    assert found["tiers"] == [["low", 0.0], ["medium", 0.125], ["high", 0.25], ["highest", 0.5]]
    assert (found["entity"], found["target"]) == ("customer_id", "churned")
    assert json.loads((made / "background.json").read_text()) == [[1.0, "basic"], [None, None], [70.0, "fiber"]]


def test_the_manifest_says_by_which_model_each_customer_is_judged_and_since_when_the_present_began(made):
    manifest = json.loads((made / "manifest.json").read_text())
    assert manifest["split"] == {"salt": "evergreen-1", "folds": 5}
    assert manifest["present_since"] == "2025-03-31"


def test_rows_of_a_group_are_asked_for_by_their_own_key_and_the_card_says_what_is_unknown():
    config = params.read()
    of_visits = {"entity": "patient", "row_key": "visit", "time": None, "as_of": params.TIMELESS}
    visits = config.model_copy(update={"data": config.data.model_copy(update=of_visits)})
    assert package.for_api(visits, 0.5)["entity"] == "visit"
    assert package._row(visits.data) == "row, named by `visit`; rows of one `patient` stay together"
    assert "nothing can be said of how the model does on later rows" in package._window(visits.data, {"rows": 9})


def test_the_threshold_and_the_candidate_go_along(made):
    assert json.loads((made / "decision.json").read_text()) == {"candidate": "lightgbm", "threshold": 0.25}


def test_the_card_says_data_figures_groups_and_limits(made):
    text = (made / "card.md").read_text()
    assert "1,000 rows, as known on 2024-12-31" in text
    assert "| roc_auc | 0.5000 [0.4000, 0.6000] |" in text
    assert "| precision | none |" in text
    assert "| gender | f | 500 |" in text and "insufficient evidence" in text
    assert "Harm against everybody else, by attribute: gender: inconclusive." in text
    assert "| gender | f | 0.5000 [0.4000, 0.6000] | 0.5000 [0.4000, 0.6000] | none |" in text
    assert "- gender: f, added TPR shortfall 0.5000 [0.4000, 0.6000]: agreed with the union" in text
    assert params.read().data.target in text


def test_the_card_says_how_it_was_trained(made):
    text = (made / "card.md").read_text()
    assert "`lambda_l2` 0.1235, `num_leaves` 7; trial 2 of 3 trials, 1 of them given up early" in text
    assert "Isotonic regression, chosen out of fold" in text
    assert "the mean of 5 models, one a fold" in text
    assert "device class cpu" in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "**On the newest mature snapshots** (2024-11-30 to 2024-12-31, 100 rows, 20 of them positive): roc_auc 0.5000"),
        ({"newest": None}, "The table has no dates: nothing can be said about how it holds up in time."),
        ({}, "each by a model that has not seen its entity: 1,000 rows of 300 entities"),
        ({}, "It is the best of 3 candidates."),
        (
            {"choice": EVALUATION["choice"] | {"best": "ensemble"}},
            "lightgbm is the simpler graph, and within one standard error of it: +0.0012 (0.0020) behind in roc_auc",
        ),
        (
            {
                "candidates": EVALUATION["candidates"] | {"lightgbm": CANDIDATE | {"backtest": {"roc_auc": FIGURE}}},
                "origins": [{"from": "2024-10-31", "to": "2024-10-31"}],
            },
            "On months that it had not seen (1 origins: 2024-10-31), a model",
        ),
    ],
)
@pytest.mark.usefixtures("made")
def test_the_card_says_on_what_it_was_judged_and_why_it_was_chosen(change, said):
    stage.write_json(Path("evaluation.json"), EVALUATION | change)
    assert said in (pack("again") / "card.md").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"best": 0}, "as in params.yaml, which none of 3 trials, 1 of them given up early, was shown to beat"),
        ({"stopped": "seconds"}, "trial 2 of 3 trials before the time ran out"),
        ({"best": None, "trials": []}, "not tuned"),
    ],
)
@pytest.mark.usefixtures("made")
def test_the_card_says_what_tuning_came_to(change, said):
    tuning = json.loads(Path("models/lightgbm/trials.json").read_text())
    stage.write_json(Path("models/lightgbm/trials.json"), tuning | change)
    assert said in (pack("again") / "card.md").read_text()


@pytest.mark.usefixtures("made")
def test_an_ensemble_goes_along_with_how_its_members_were_trained():
    evaluation = EVALUATION | {"challenger": "ensemble"}
    evaluation["candidates"] = EVALUATION["candidates"] | {"ensemble": CANDIDATE}
    stage.write_json(Path("evaluation.json"), evaluation)
    Path("ensemble").mkdir()
    Path("ensemble/model.onnx").write_bytes(b"composed")
    stage.write_json(Path("ensemble/training.json"), TRAINING | {"params": {"weights": {"lightgbm": 1.0}}, "metadata": {}})
    stage.write_json(Path("ensemble/trials.json"), {"metric": "roc_auc", "best": None, "stopped": None, "trials": []})
    packed = pack("again")
    text = (packed / "card.md").read_text()
    assert (packed / "model.onnx").read_bytes() == b"composed"
    assert "**ensemble**: the mean probability of 1.00 lightgbm" in text
    assert "**lightgbm**: `lambda_l2` 0.1235, `num_leaves` 7; trial 2" in text


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"grapH"), "model.onnx: changed"),
        (lambda folder: (folder / "schema.json").unlink(), "schema.json: missing"),
        (lambda folder: (folder / "extra.py").write_text(""), "extra.py: not in the manifest"),
        (
            lambda folder: (folder / "card.md").rename(folder / "c") and (folder / "card.md").symlink_to("c"),
            "card.md: is a link",
        ),
    ],
)
def test_a_bundle_that_was_touched_is_refused_by_name(made, harm, said):
    digests = {path.name: stage.sha256(path) for path in made.iterdir()}
    harm(made)
    with pytest.raises(EvergreenError, match=said):
        onnx_model.load(made, digests)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "which costs least when a missed positive costs"),
        ({"capacity": 500}, "are the highest scores: 500 rows of each decision date."),
        (
            {"capacity": 0.1, "threshold": "capacity"},
            "which out of fold as many reach as can be acted on: 10.0% of the rows of each",
        ),
    ],
)
def test_the_card_says_where_the_threshold_comes_from_and_what_can_be_acted_on(values, said):
    evaluate = params.read().evaluate.model_copy(update=values)
    assert said in f"{package._reason(evaluate)}."
