"""Going back: at once, to what is whole, and to nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli import model_commands
from flows import rollback
from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger, tenures
from tests.support import bundles

IMPORTED = """
import sys
from pathlib import Path
from flows import rollback
from cli.app import app
from pipelines.config.settings import load as load_settings
row = rollback.roll_back(load_settings(), "churn", None, actor="tester", reason="a test")
print(row.to_version, sorted({"mlflow", "prefect", "dvc", "pyarrow", "numpy", "pydantic"} & set(sys.modules)))
"""


@pytest.fixture
def settings(tmp_path: Path, ledger_url: str) -> Settings:
    """A clone with three versions, all whole in its home, of which each was champion in turn; MLflow does not answer."""
    ledger.migrate(ledger_url)
    (tmp_path / "params.yaml").write_text("model: churn\n")
    (tmp_path / ".env").write_text(f"EVERGREEN_URL={ledger_url}\nMLFLOW_TRACKING_URI=http://127.0.0.1:1\n")
    settings = Settings.load_from(tmp_path, {})
    for number, weight in enumerate((1.0, 1.1, 1.2), 1):
        publish_here(settings, weight)
        decision = {"actor": "tester", "reason": "better", "verdict": {"finding": "better"}}
        ledger.promote(ledger_url, "churn", number, expected_revision=number - 1, **decision)
    return settings


def publish_here(settings: Settings, weight: float) -> ledger.Version:
    """A version whose bundle is in the clone's home and nowhere else."""
    bundle = bundles.keep(settings.home, {"strong": weight})
    return ledger.register_version(settings.evergreen_url, bundles.registration(bundle))


def roll_back(settings: Settings, number: int | None = None) -> ledger.Promotion:
    return rollback.roll_back(settings, "churn", number, actor="tester", reason="a test")


def champion(settings: Settings) -> int:
    return ledger.champion(settings.evergreen_url, "churn").version


def graph_of(settings: Settings, number: int) -> Path:
    return settings.home / "models" / ledger.version(settings.evergreen_url, "churn", number).bundle_sha256 / "model.onnx"


def test_the_champion_before_comes_back_and_then_the_one_before_it(settings):
    row = roll_back(settings)
    assert (row.from_version, row.to_version, row.revision, row.decision) == (3, 2, 4, "promoted")
    assert row.verdict["finding"] == tenures.ROLLED_BACK and row.reason == "tester: a test"
    assert roll_back(settings).to_version == 1
    with pytest.raises(EvergreenError, match=r"No champion came before v1.*There is: v3, v2, v1 \(the champion\)"):
        roll_back(settings)
    assert champion(settings) == 1


def test_a_version_that_is_named_comes_back(settings):
    assert roll_back(settings, 1).to_version == 1
    assert champion(settings) == 1


def test_it_asks_nothing_of_mlflow_and_imports_nothing_heavy(settings):
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=settings.folder, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "2 []", done.stderr


def test_a_bundle_with_one_byte_flipped_is_refused_and_what_there_is_is_listed(settings):
    content = bytearray(graph_of(settings, 2).read_bytes())
    content[40] ^= 1
    graph_of(settings, 2).write_bytes(content)
    with pytest.raises(EvergreenError) as refused:
        roll_back(settings)
    for part in ("v2 cannot serve, so the champion stays v3", "v3 is whole here and is the champion", "v1 is whole here"):
        assert part in str(refused.value)
    assert champion(settings) == 3
    assert roll_back(settings, 1).to_version == 1


@pytest.mark.parametrize("number", [2, 1])
def test_a_bundle_that_is_nowhere_is_refused(settings, number):
    graph_of(settings, number).unlink()
    with pytest.raises(EvergreenError, match=f"v{number} cannot serve.*MLflow"):
        roll_back(settings, number)
    assert champion(settings) == 3


@pytest.mark.parametrize(("number", "said"), [(7, "There is no v7"), (3, "v3 is the champion already, since revision 3")])
def test_a_version_that_is_not_there_or_reigns_is_refused(settings, number, said):
    with pytest.raises(EvergreenError, match=said):
        roll_back(settings, number)
    assert champion(settings) == 3


def test_a_model_without_a_champion_has_nothing_to_go_back_from(settings):
    with pytest.raises(EvergreenError, match="'fraud' has no champion"):
        rollback.roll_back(settings, "fraud", None, actor="tester", reason="")


def test_what_is_told_afterwards_fails_one_by_one(settings):
    """MLflow and Prefect are away: the ledger's row stands, the first page is written, and each failure is said."""
    row, said = roll_back(settings), []
    (settings.folder / "params.yaml").write_bytes((Path(__file__).parents[2] / "params.yaml").read_bytes())
    away = Settings.load_from(settings.folder, {"PREFECT_API_URL": "http://127.0.0.1:1/api"})
    rollback.announce(away, "churn", row.revision, said.append)
    assert len(said) == 2 and all(text.startswith("v2 of 'churn' is champion all the same") for text in said)
    page = (settings.home / "site" / "index.html").read_text()
    for words in ("churn v2", "since today", "rolled back", "Prefect does not answer", "nothing was scored yet"):
        assert words in page, words


@pytest.mark.parametrize("text", ["v3", "3"])
def test_a_version_is_named_with_or_without_its_v(text):
    assert model_commands.number_of(text) == 3


def test_what_is_no_version_is_named():
    with pytest.raises(EvergreenError, match="'latest' is no version"):
        model_commands.number_of("latest")


def test_a_verified_copy_is_what_serves(settings):
    """What is gone back to loads, by the digests of the ledger."""
    roll_back(settings)
    version = ledger.champion(settings.evergreen_url, "churn")
    assert onnx_model.load(settings.home / "models" / version.bundle_sha256, version.manifest).session is not None
