"""`--json`: what a command reads, for other programs."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import output
from cli.app import app
from pipelines.registry import ledger
from serving import keys
from serving.keys import Key
from tests.support import bundles

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ask(ledger_url, tmp_path, monkeypatch):
    """The output of a command, read as JSON, in a folder whose ledger has a champion and a rejected version."""
    (tmp_path / ".env").write_text(f"EVERGREEN_URL='{ledger_url}'\nSOURCE_URL='{ledger_url}'\n")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    ledger.migrate(ledger_url)
    for number in (1, 2):
        ledger.register_version(ledger_url, bundles.registration(bundles.write(tmp_path / f"{number}", {"strong": number})))
    ledger.promote(ledger_url, "churn", 1, expected_revision=0, actor="tester", reason="first", verdict={"finding": "better"})
    ledger.record_rejection(
        ledger_url, "churn", 2, revision=1, actor="tester", reason="weak", verdict={"finding": "worse", "checks": []}
    )

    def run(*words: str):
        ended = CliRunner().invoke(app, [*words, "--json"])
        return json.loads(ended.output)

    return run


def test_the_champion(ask):
    shown = ask("model", "champion")
    assert (shown["model"], shown["version"], shown["revision"]) == ("churn", 1, 1)
    assert ask("model", "champion", "--at", f"{datetime.now(UTC):%Y-%m-%d}")["version"] == 1


def test_decisions_newest_first(ask):
    assert [(row["decision"], row["to_version"]) for row in ask("model", "history")] == [("rejected", 2), ("promoted", 1)]


def test_windows_of_a_model_that_none_was_judged_of(ask):
    assert ask("monitor", "windows") == []


def test_keys_are_listed_without_their_digests(ask, ledger_url):
    keys.create(ledger_url, "the shop", ["predict"])
    (shown,) = ask("key", "list")
    assert (shown["name"], shown["scopes"], shown["revoked_at"]) == ("the shop", ["predict"], None)
    assert "sha256" not in shown


def test_what_runs_and_what_is_wrong(ask):
    assert {row["program"] for row in ask("status")} >= {"prefect", "mlflow"}
    assert all({"what", "where", "next"} == finding.keys() for finding in ask("doctor"))


def test_values_are_plain(capsys):
    key = Key(key_id="0", sha256="secret", name="n", scopes=["predict"], created_at=datetime(2025, 1, 1), revoked_at=None)
    output.write({"key": key, "nothing": float("nan"), "path": Path("a/b"), "parts": (1, {2})})
    assert json.loads(capsys.readouterr().out) == {
        "key": {"key_id": "0", "name": "n", "scopes": ["predict"], "created_at": "2025-01-01T00:00:00", "revoked_at": None},
        "nothing": None,
        "path": "a/b",
        "parts": [1, [2]],
    }


READS = ("status", "doctor", "data check-sql", "model champion", "model history", "model compare", "model trace",
         "monitor windows", "store gc", "key list")  # fmt: skip


@pytest.mark.parametrize("command", READS)
def test_a_command_that_reads_has_it(command):
    assert "--json" in CliRunner().invoke(app, [*command.split(), "--help"]).output
