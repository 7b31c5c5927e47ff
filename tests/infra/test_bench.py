"""The bench: what it measures is what it says, and its limit does the pipeline's work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from bench import commands, place, retraining
from bench.figure import Figure
from examples.telecom.load import load_demo
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.setting_names import NAMES
from pipelines.config.settings import Settings
from pipelines.data import split
from pipelines.data.extract import Queries, pin
from pipelines.training import backtest
from tests.support.clones import REPOSITORY

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("ratio", "better", "met"), [(1.0, "lower", True), (1.1, "lower", False), (1.0, "higher", True), (0.9, "higher", False)]
)
def test_a_goal_is_met_from_the_right_side(ratio: float, better: str, met: bool) -> None:
    assert Figure("claim", ratio, 1.0, better).met is met


def test_a_stage_beside_hides_nothing_of_the_flows_own_time() -> None:
    def ran(begin: int, end: int) -> dict[str, str]:
        return {"start_time": f"2026-01-01T00:00:{begin:02d}+00:00", "end_time": f"2026-01-01T00:00:{end:02d}+00:00"}

    pin, publish, pages = ran(0, 3), ran(12, 14), ran(30, 31)
    extract, report = ran(4, 10), ran(8, 30)
    assert retraining._seconds_in_stages_alone([extract], [pin, publish]) == 6
    assert retraining._seconds_in_stages_alone([extract, report], [pin, publish, pages]) == 24


def test_import_times_are_summed_module_by_module() -> None:
    told = "\n".join(
        [
            "import time: self [us] | cumulative | imported package",
            "import time:       200 |        200 |   inner",
            "import time:       300 |        500 | outer",
            "what the command printed",
        ]
    )
    assert commands._seconds_told(told) == pytest.approx(500e-6)


@pytest.mark.parametrize("needed", ["cli.app", "infra.stack.local", "pipelines.registry.ledger", "pipelines.config.params"])
def test_what_a_fast_command_imports_brings_no_heavy_library_in(needed: str) -> None:
    asked = "import sys; from cli import app; import " + needed + "; sys.argv = ['evergreen', '--help']; "
    asked += "exec('try: app.main()\\nexcept SystemExit: print(*sys.modules)')"
    done = subprocess.run([sys.executable, "-c", asked], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    heavy = {"rich", "httpx", "starlette", "numpy", "pandas", "pyarrow", "prefect", "mlflow", "dvc", "sqlalchemy"}
    assert "Usage" in done.stdout
    assert heavy & set(done.stdout.split()) == set()


def test_bare_dvc_has_the_edges_between_our_stages_and_nothing_else_of_ours(tmp_path: Path) -> None:
    stages = {
        "split": {"deps": ["pipelines/data/split.py"], "outs": ["data/train.parquet", "data/schema.json"]},
        "train@linear": {"deps": ["data/train.parquet", "pipelines/training/fitting"], "outs": ["models/linear"]},
        "evaluate": {"deps": ["models", "data/schema.json", "requirements.lock"], "outs": ["evaluation"]},
    }
    ours = {name: {key: [{"path": path} for path in paths] for key, paths in stage.items()} for name, stage in stages.items()}
    graph = commands._same_graph(ours)
    assert {name: stage["deps"] for name, stage in graph.items()} == {
        "split": ["split.py"],
        "train-linear": ["train-linear.py", "data/train.parquet"],
        "evaluate": ["evaluate.py", "models", "data/schema.json"],
    }
    bare = Settings.load_from(tmp_path / "bare", {})
    commands._make_bare(bare, graph)
    assert commands._idle_seconds(bare) > 0, "which raises where something is left to do"
    (bare.folder / "split.py").write_text("changed\n")
    with pytest.raises(EvergreenError, match="had something to do"):
        commands._idle_seconds(bare)


def test_a_process_of_the_bench_sees_nothing_of_the_callers_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "postgresql://company.example/production")
    (tmp_path / ".env").write_text(place._env_file(tmp_path))
    seen = place.environment(Settings.load_from(tmp_path, {}))
    assert not [name for name, value in seen.items() if "company.example" in value]


def test_the_lean_script_judges_on_the_pipelines_rows(company_url: str, tmp_path: Path) -> None:
    load_demo(company_url, customers=4_000, say=print)
    for name in ("training_set.sql", "fingerprint.sql", "watermark.sql", "expectations.yaml"):
        (tmp_path / "sql" / "churn").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sql" / "churn" / name).write_bytes((REPOSITORY / "sql" / "churn" / name).read_bytes())
    config = params.read(REPOSITORY / "params.yaml")
    pinned = pin(company_url, Queries(tmp_path / "sql" / "churn"), config.data, retraining.AS_OF)
    yaml = YAML()
    values = yaml.load(REPOSITORY / "params.yaml")
    values["data"]["as_of"], values["evaluate"]["bootstrap"] = pinned.as_of, 100
    values["candidates"]["lightgbm"]["max_rounds"] = 20
    yaml.dump(values, tmp_path / "params.yaml")
    command = [sys.executable, str(retraining.LEAN), "params.yaml", "out"]
    url = company_url.replace("postgresql+psycopg://", "postgresql://")
    subprocess.run(command, cwd=tmp_path, input=url, text=True, check=True, timeout=300)
    judged = pq.read_table(tmp_path / "out" / "scores.parquet")
    assert judged.num_rows == pinned.rows
    fold = split.fold_of(judged["customer_id"], config.split.salt, config.split.folds)
    assert judged["fold"].to_pylist() == fold.tolist()
    late = split.newest(judged, config.data, config.evaluate).sum()
    origins = backtest.origins(judged, config.data, config.evaluate, None)
    rows = {"metrics": pinned.rows, "newest": late, "backtest": sum(part.judged.sum() for part in origins)}
    for name in ("linear", "lightgbm"):
        found = json.loads((tmp_path / "out" / f"{name}.json").read_text())
        assert found["rows"] == rows
        for part in rows:
            assert found[part]["roc_auc"].keys() == {"0.025", "0.975"}
            assert 0.5 < found[part]["roc_auc"]["0.025"] < found[part]["roc_auc"]["0.975"] < 1
