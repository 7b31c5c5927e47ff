"""What `evergreen model history` and `evergreen model champion --at` say of a ledger: a move is drawn only where one was
made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from cli.app import app
from pipelines.registry import ledger, tenures
from tests.support import bundles

TODAY = f"{datetime.now(UTC):%Y-%m-%d}"


@pytest.fixture
def ask(tmp_path, ledger_url, monkeypatch):
    """A command in a clone whose ledger has v1 promoted, v2 refused and promoted by hand, v1 again; what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("model: churn\n")
    monkeypatch.setenv("EVERGREEN_URL", ledger_url)
    ledger.migrate(ledger_url)
    for number in (1, 2):
        ledger.register_version(ledger_url, bundles.registration(bundles.write(tmp_path / f"{number}", {"strong": number})))
    said = {"actor": "tester"}
    ledger.promote(ledger_url, "churn", 1, expected_revision=0, reason="first", verdict={"finding": "first"}, **said)
    ledger.record_rejection(ledger_url, "churn", 2, revision=1, reason="weak", verdict={"finding": "worse"}, **said)
    ledger.promote(ledger_url, "churn", 2, expected_revision=1, reason="asked", verdict={"finding": "by hand"}, **said)
    back = {"finding": tenures.ROLLED_BACK}
    ledger.promote(ledger_url, "churn", 1, expected_revision=2, reason="bad", verdict=back, **said)

    def ask(*words: str) -> str:
        done = CliRunner().invoke(app, ["model", *words])
        return done.output if done.exit_code == 0 else str(done.exception)

    return ask


def test_each_decision_is_called_what_it_was(ask):
    said = [" ".join(" ".join(line.split()[4:]).split()) for line in ask("history").splitlines()[::2]]
    assert said == [
        "v2 -> v1 rolled back bad",
        "v1 -> v2 promoted by hand asked",
        "v2 rejected, v1 stays weak",
        "none -> v1 promoted first",
    ]


def test_the_champion_of_a_day_is_told_and_before_the_first_there_was_none(ask):
    assert "the champion of churn was v1: revision 3" in ask("champion", "--at", TODAY)
    said = ask("champion", "--at", "2025-03-31")
    assert f"churn had no champion at 2025-03-31 23:59 UTC: its first was v1, since {TODAY}" in said
    later = f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}"
    assert f"--at {later} is still to come" in ask("champion", "--at", later)
    assert "'soon' is no time" in ask("champion", "--at", "soon")
