"""The README is run before it is believed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer
from ruamel.yaml import YAML

from cli.app import app
from pipelines import features
from pipelines.config import params, settings, stage
from pipelines.data import split

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL) + re.findall(r"`([^`\n]+)`", README)
CANDIDATE = README.split("**A candidate.**")[1].split("**A feature.**")[0]


def test_every_evergreen_command_exists():
    known = typer.main.get_command(app).commands
    named = set(re.findall(r"\bevergreen ([a-z]+(?:-[a-z]+)*)", "\n".join(COMMANDS)))
    assert named - known.keys() == set()
    run_by_make = set(re.findall(r"evergreen ([a-z]+(?:-[a-z]+)*)", (ROOT / "Makefile").read_text()))
    assert known.keys() - named - run_by_make == set(), "commands that nobody is told of"


def test_every_option_exists():
    commands = typer.main.get_command(app).commands
    for line in "\n".join(COMMANDS).splitlines():
        found = re.match(r"evergreen ([a-z]+(?:-[a-z]+)*)(.*)", line.strip())
        if found:
            command = commands[found[1]]
            if isinstance(command, typer.core.TyperGroup):
                command = command.commands[found[2].split()[0]]
            known = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", found[2])) <= known, line


def test_every_make_target_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", "\n".join(COMMANDS))) <= targets


def test_every_file_and_link_is_there():
    linked = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named = [
        text
        for text in re.findall(r"`([^`\n]+)`", README)
        if re.fullmatch(r"[a-z_]+(/[a-z_]+)*(/|\.(py|sql|yaml|txt|md))", text)
    ]
    missing = [path for path in linked + named if "<" not in path and not (ROOT / path).exists()]
    # said of any dataset
    lone = {
        "expectations.yaml",
        "fingerprint.sql",
        "known_at.yaml",
        "left_out.sql",
        "outcomes.sql",
        "scoring_set.sql",
        "training_set.sql",
        "watermark.sql",
    }
    assert set(missing) - lone == set()


def test_every_setting_is_described():
    described = set(re.findall(r"`((?:EVERGREEN|SOURCE|LOAD|PREFECT|MLFLOW|PROMOTER|SCORER|WATCHER)_[A-Z_]+)`", README))
    assert described == set(settings.NAMES)


def test_the_recipe_for_a_candidate_works(tmp_path, monkeypatch):
    for folder in ("pipelines", "monitoring"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    subprocess.run(re.search(r"```bash\n(.*?)```", CANDIDATE, re.DOTALL)[1], shell=True, check=True)
    yaml = YAML()
    values = yaml.load(Path("params.yaml"))
    values["candidates"].update(yaml.load(re.search(r"```yaml\n(.*?)```", CANDIDATE, re.DOTALL)[1])["candidates"])
    yaml.dump(values, Path("params.yaml"))
    _write_training_rows(tmp_path)
    command = ["-m", "pipelines.stages.train", "--candidate", "ridge", "--training", "training.parquet"]
    command += ["--schema", "schema.json", "--past", "recency.json", "--model", "models/ridge"]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert "ridge: out-of-fold ROC-AUC" in done.stdout, done.stderr
    made = {"model.onnx", "oof.parquet", "shap.json", "training.json", "trials.json"}
    assert {path.name for path in Path("models/ridge").iterdir()} == made


def _write_training_rows(folder):
    import numpy as np
    import pyarrow as pa

    random = np.random.default_rng(1)
    tenure = random.integers(0, 70, 600)
    table = pa.table(
        {
            "customer_id": np.arange(600),
            "snapshot_date": pa.array([0] * 600, pa.date32()),
            "churned": pa.array((random.random(600) < 0.1 + 0.4 * (tenure < 12)).astype("int32")),
            "tenure_months": pa.array(tenure, pa.int32()),
            "plan": random.choice(["basic", "fiber"], 600),
        }
    )
    config = params.read(ROOT / "params.yaml")
    divided = split.split(table, config.data, config.split)
    pq.write_table(divided, folder / "training.parquet")
    stage.write_json(folder / "recency.json", {"by_fold": [None] * config.split.folds, "overall": None})
    learnt = features.learn_schema(table, config.data, config.features.model_copy(update={"exclude": []}))
    stage.write_json(folder / "schema.json", learnt)


def test_an_error_ends_a_command_with_its_text_alone(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cli.app", "pin"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "ERROR: params.yaml is missing: run this in the project's folder."


@pytest.mark.parametrize(
    "name", ["params.yaml", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("sql/*/params.yaml"))]
)
def test_params_that_we_ship_are_usable(name):
    assert params.read(ROOT / name).enabled
