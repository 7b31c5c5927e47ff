"""The bundle: every file accounted for, and the same bytes from the same inputs."""

import json
from pathlib import Path

import pytest

from pipelines import package, params, scoring, stage
from pipelines.errors import EvergreenError

FIGURE = {"point": 0.5, "low": 0.4, "high": 0.6}
CANDIDATE = {
    "threshold": 0.25,
    "metrics": {"roc_auc": FIGURE, "precision": {"point": None, "low": None, "high": None}},
    "against_baseline": FIGURE,
    "newest": {"roc_auc": FIGURE},
}
EVALUATION = {
    "challenger": "lightgbm", "baseline": "linear", "metric": "roc_auc", "rows": 1000, "newest_rows": 100, "entities": 300,
    "positives": 50, "base_rate": 0.05, "candidates": {"linear": CANDIDATE, "lightgbm": CANDIDATE},
}  # fmt: skip
RATES = {name: {"value": FIGURE} for name in ("selection_rate", "tpr", "fpr")}
GROUP = {"group": "f", "rows": 500, "rates": RATES, "evidence": "insufficient evidence"}
MANIFEST = {"rows": 1000, "as_of": "2024-12-31", "fingerprint": "abc", "binds": {}, "columns": {}, "sql_sha256": "d"}


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A packaged bundle, in a folder that holds params.yaml."""
    text = Path("params.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(text)
    for name, value in {"manifest": MANIFEST, "schema": {}, "evaluation": EVALUATION}.items():
        stage.write_json(Path(f"{name}.json"), value)
    stage.write_json(Path("audit.json"), {"attributes": {"gender": [GROUP]}})
    Path("models/lightgbm").mkdir(parents=True)
    Path("models/lightgbm/model.onnx").write_bytes(b"graph")
    return pack("bundle")


def pack(folder):
    inputs = {name: Path(f"{name}.json") for name in ("manifest", "schema", "evaluation", "audit")}
    package.main(models=Path("models"), bundle=Path(folder), **inputs)
    return Path(folder)


def test_the_manifest_names_every_file_with_its_digest(made):
    files = json.loads((made / "manifest.json").read_text())["files"]
    assert files.keys() == {"model.onnx", "schema.json", "evaluation.json", "audit.json", "decision.json", "card.md"}
    scoring.verify(made, files | {"manifest.json": scoring.sha256(made / "manifest.json")})


def test_packing_again_gives_the_same_bytes(made):
    assert scoring.sha256(pack("again") / "manifest.json") == scoring.sha256(made / "manifest.json")


def test_the_threshold_and_the_candidate_go_along(made):
    assert json.loads((made / "decision.json").read_text()) == {"candidate": "lightgbm", "threshold": 0.25}


def test_the_card_says_data_figures_groups_and_limits(made):
    text = (made / "card.md").read_text()
    assert "1,000 rows, as known on 2024-12-31" in text
    assert "| roc_auc | 0.5000 [0.4000, 0.6000] |" in text
    assert "| precision | none |" in text
    assert "| gender | f | 500 |" in text and "insufficient evidence" in text
    assert params.read().data.target in text


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
    digests = {path.name: scoring.sha256(path) for path in made.iterdir()}
    harm(made)
    with pytest.raises(EvergreenError, match=said):
        scoring.load(made, digests)
