"""The ledger on a real Postgres: it migrates once, counts versions, lets one promoter win, and forgets nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data.postgres import connect
from pipelines.registry import ledger
from tests.support.ledgers import DECISION, at_once, register, url

__all__ = ["url"]  # fixtures

HOLD_THE_LOCK = """
import sys, time
from pipelines.registry import ledger
with ledger.retraining_lock(sys.argv[1], "churn"):
    print("held", flush=True)
    time.sleep(600)
"""


def judged_on(snapshot: str | None, **figures: float) -> dict:
    """What `promote` and `record_rejection` take, of a verdict on the held-out rows of a snapshot."""
    return DECISION | {"verdict": {"finding": "worse", "snapshot": snapshot, "checks": [], "evidence": figures}}


def test_uses_of_a_snapshots_rows_are_counted_and_a_new_snapshot_begins_anew(url):
    for digit in "1234":
        register(url, digit)

    def reuse(version: int, snapshot: str = "may", revision: int = 1) -> int:
        return ledger.snapshot_reuse(url, "churn", snapshot, version=version, revision=revision)

    assert reuse(1, revision=0) == 1
    ledger.promote(url, "churn", 1, expected_revision=0, **judged_on("may"))
    assert (reuse(1, revision=0), reuse(2)) == (1, 2)  # the first champion's own judging, done again, is the same use
    ledger.record_rejection(url, "churn", 2, revision=1, **judged_on("may"))
    assert (reuse(2), reuse(3)) == (2, 3)
    ledger.promote(url, "churn", 3, expected_revision=1, **judged_on("may"))
    assert (reuse(3), reuse(2)) == (3, 2)
    assert reuse(2, revision=2) == 4  # against another champion it is another comparison
    ledger.promote(url, "churn", 2, expected_revision=2, **judged_on(None))  # by hand: no rows were looked at
    assert reuse(4, revision=3) == 4
    assert (reuse(4, "june", revision=3), reuse(4, "june", revision=0)) == (1, 1)
    assert ledger.snapshot_reuse(url, "other", "may", version=1, revision=0) == 1


def test_a_refusal_that_says_the_same_but_for_its_latencies_is_recorded_once(url):
    for digit in "12":
        register(url, digit)
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    for microseconds, gain in ((10, 0.1), (11, 0.1), (11, 0.2)):
        verdict = judged_on("may", gain=gain)
        verdict["verdict"]["checks"] = [{"name": "latency", "observed": microseconds}]
        ledger.record_rejection(url, "churn", 2, revision=1, **verdict)
    assert [row.verdict["evidence"] for row in ledger.history(url, "churn")[:2]] == [{"gain": 0.2}, {"gain": 0.1}]
    assert len(ledger.history(url, "churn")) == 3


def test_migrating_twice_changes_nothing_the_second_time(ledger_url):
    assert ledger.pending_migrations(ledger_url) == ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
    assert ledger.migrate(ledger_url) == ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]
    assert ledger.migrate(ledger_url) == []
    assert ledger.pending_migrations(ledger_url) == []


def test_of_two_migrations_at_once_one_does_the_work(ledger_url):
    done = at_once(*[lambda: ledger.migrate(ledger_url)] * 4)
    assert sorted(done) == [[], [], [], ["0001", "0002", "0003", "0004", "0005", "0006", "0007"]]


def test_a_store_written_by_a_newer_version_is_named(url):
    with connect(url) as connection:
        connection.execute("update evergreen.alembic_version set version_num = '9999'")
    with pytest.raises(EvergreenError, match="revision 9999, which this code does not know"):
        ledger.pending_migrations(url)
    with pytest.raises(EvergreenError, match="newer version of Evergreen"):
        ledger.migrate(url)


def test_a_bundle_registered_twice_is_one_version(url):
    first = register(url, "a")
    assert register(url, "a") == first
    assert ledger.versions(url, "churn") == [first]
    assert ledger.find(url, "churn", "a" * 64) == first


def test_versions_count_from_one_for_each_model(url):
    numbers = [register(url, digit).version for digit in "abc"]
    assert (numbers, register(url, "a", model="fraud").version) == ([1, 2, 3], 1)
    assert ledger.models(url) == ["churn", "fraud"]


def test_versions_registered_at_once_have_no_gap(url):
    made = at_once(*[lambda digit=digit: register(url, digit) for digit in "abcabc"])
    assert sorted(version.version for version in made) == [1, 1, 2, 2, 3, 3]


def test_the_last_promoted_version_is_the_champion(url):
    register(url, "a"), register(url, "b")
    assert ledger.champion(url, "churn") is None
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    ledger.promote(url, "churn", 2, expected_revision=1, **DECISION)
    champion = ledger.champion(url, "churn")
    assert (champion.version, champion.revision, champion.manifest) == (2, 2, {"model.onnx": "b" * 64})
    assert [(row.from_version, row.to_version) for row in ledger.history(url, "churn")] == [(1, 2), (None, 1)]


def test_a_promotion_against_an_epoch_that_is_over_is_refused(url):
    register(url, "a"), register(url, "b")
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    with pytest.raises(ledger.ChampionMovedError, match="champion is now v1 of revision 1"):
        ledger.promote(url, "churn", 2, expected_revision=0, **DECISION)
    assert ledger.champion(url, "churn").version == 1


def test_of_racing_promoters_exactly_one_wins(url):
    for digit in "abcd":
        register(url, digit)
    for revision in range(10):
        sides = [1, 2] if revision % 2 else [3, 4]
        outcomes = at_once(
            *[
                lambda to=to, revision=revision: ledger.promote(url, "churn", to, expected_revision=revision, **DECISION)
                for to in sides
            ]
        )
        won = [outcome for outcome in outcomes if isinstance(outcome, ledger.Promotion)]
        lost = [outcome for outcome in outcomes if isinstance(outcome, ledger.ChampionMovedError)]
        assert (len(won), len(lost)) == (1, 1)
        assert ledger.champion(url, "churn").version == won[0].to_version
    moves = ledger.history(url, "churn")[::-1]
    assert [move.revision for move in moves] == list(range(1, 11))
    assert [move.from_version for move in moves] == [None, *[move.to_version for move in moves[:-1]]]


def test_two_inserts_past_the_check_still_leave_one_champion(url):
    """The index itself: an open promotion makes the second wait, and then lose."""
    register(url, "a"), register(url, "b")
    insert = (
        "insert into evergreen.promotions (model, revision, decision, to_version, actor, reason, verdict) "
        "values ('churn', 1, 'promoted', 1, 'tester', 'first', '{}')"
    )
    with connect(url) as connection:
        connection.execute(insert)
        with ThreadPoolExecutor(1) as threads:
            second = threads.submit(ledger.promote, url, "churn", 2, expected_revision=0, **DECISION)
            time.sleep(0.3)
            assert not second.done()
            connection.commit()
            with pytest.raises(ledger.ChampionMovedError):
                second.result(timeout=20)
    assert ledger.champion(url, "churn").version == 1


def test_a_kept_verdict_is_history_once_and_moves_nothing(url):
    register(url, "a"), register(url, "b")
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    kept = {"revision": 1, "actor": "tester", "reason": "insufficient evidence", "verdict": {"gain": 0.001}}
    row = ledger.record_rejection(url, "churn", 2, **kept)
    assert (row.decision, row.revision, row.from_version, row.to_version) == ("rejected", 1, 1, 2)
    assert ledger.record_rejection(url, "churn", 2, **kept) is None
    assert ledger.record_rejection(url, "churn", 2, **kept | {"verdict": {"gain": 0.002}}) is not None
    assert ledger.champion(url, "churn").version == 1
    assert [row.decision for row in ledger.history(url, "churn")] == ["rejected", "rejected", "promoted"]


def test_the_newest_version_is_the_challenger_until_it_was_champion(url):
    register(url, "a"), register(url, "b")
    assert ledger.challenger(url, "churn").version == 2
    ledger.promote(url, "churn", 2, expected_revision=0, **DECISION)
    assert ledger.challenger(url, "churn") is None


def test_a_version_that_is_not_there_cannot_be_promoted(url):
    register(url, "a"), register(url, "b")
    with pytest.raises(EvergreenError, match=r"no version 7. There is v2, v1"):
        ledger.promote(url, "churn", 7, expected_revision=0, **DECISION)
    with pytest.raises(EvergreenError, match="foreign key"), connect(url) as connection:
        connection.execute(
            "insert into evergreen.promotions (model, revision, decision, to_version, actor, reason, verdict) "
            "values ('churn', 1, 'promoted', 7, 'tester', 'by hand', '{}')"
        )


def test_promoting_the_champion_again_is_refused(url):
    register(url, "a")
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    with pytest.raises(EvergreenError, match="is the champion of 'churn' already"):
        ledger.promote(url, "churn", 1, expected_revision=1, **DECISION)


@pytest.mark.parametrize("table", ["promotions", "model_versions"])
@pytest.mark.parametrize(
    "change", ["update evergreen.{} set model = 'x'", "delete from evergreen.{}", "truncate evergreen.{} cascade"]
)
def test_nothing_written_can_be_changed(url, table, change):
    register(url, "a")
    ledger.promote(url, "churn", 1, expected_revision=0, **DECISION)
    with pytest.raises(EvergreenError, match="is append-only"), connect(url) as connection:
        connection.execute(change.format(table))
    assert ledger.champion(url, "churn").version == 1


def test_a_second_retraining_is_refused_and_another_model_is_not(url):
    with ledger.retraining_lock(url, "churn"):
        with pytest.raises(EvergreenError, match=r"'churn' is already running \(by evergreen, since 20.* UTC\)"):
            ledger.retraining_lock(url, "churn").__enter__()
        with ledger.retraining_lock(url, "fraud"):
            pass
    with ledger.retraining_lock(url, "churn"):
        pass


def test_the_lock_of_a_killed_holder_is_free_at_once(url):
    holder = subprocess.Popen([sys.executable, "-c", HOLD_THE_LOCK, url], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EvergreenError, match="already running"):
            ledger.retraining_lock(url, "churn").__enter__()
        os.kill(holder.pid, signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()
    deadline = time.monotonic() + 10
    while True:
        try:
            with ledger.retraining_lock(url, "churn"):
                break
        except EvergreenError:
            assert time.monotonic() < deadline, "Postgres still holds a dead session's lock"
            time.sleep(0.1)


def test_a_lock_whose_session_the_database_ended_is_said_to_be_lost(url):
    with ledger.retraining_lock(url, "churn") as confirm:
        confirm()
        with connect(url) as connection:
            ended = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and pid <> pg_backend_pid()"
            connection.execute(ended).fetchall()
        with pytest.raises(EvergreenError, match=r"lock on retraining 'churn' was lost.*Run it again"):
            confirm()


def test_a_ledger_out_of_reach_is_said_without_its_password():
    with pytest.raises(EvergreenError, match=r"127\.0\.0\.1:1") as refused:
        ledger.champion("postgresql+psycopg://evergreen:hunter2@127.0.0.1:1/evergreen", "churn")
    assert "hunter2" not in str(refused.value)
