"""From the spool into evergreen.predictions on a real Postgres: all of it, once, whatever is killed."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys

import msgspec
import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry import ledger
from serving import records, sender, spool
from serving.sender import Sender
from serving.spool import Spool
from tests.support import served_versions as versions
from tests.support.records import DAY, record, written

SENDING = """
import sys
from pathlib import Path
from serving.sender import Sender
Sender(sys.argv[1], "churn", Path(sys.argv[2])).round()
"""


@pytest.fixture
def url(ledger_url, tmp_path):
    ledger.migrate(ledger_url)
    versions.promote(ledger_url, tmp_path / "models", 0.0)
    return ledger_url


def rows(url: str, columns: str = "*") -> list[tuple]:
    with postgres.connect(url) as connection:
        return connection.execute(f"select {columns} from evergreen.predictions order by scored_at, run_key").fetchall()


def runs(url: str) -> list[tuple]:
    with postgres.connect(url) as connection:
        return connection.execute(
            "select run_key, source, state, row_count, horizon_days, embargo_days, as_champion from evergreen.scoring_runs "
            "order by run_key"
        ).fetchall()


def test_a_record_arrives_as_it_was_answered(url, tmp_path):
    one = record("anna", features={"plan": 'ünï "quoted"', "charges": 1.5, "none": None})
    written(tmp_path / "log", one)
    assert Sender(url, "churn", tmp_path / "log").round() == 1
    found = rows(url, "prediction_id::text, model, version, entity, as_of, score, decision, source, scored_at, features")
    moment = dt.datetime(2025, 3, 31, 12, tzinfo=dt.UTC)
    features = {"plan": 'ünï "quoted"', "charges": 1.5, "none": None}
    assert found == [(one.prediction_id, "churn", 1, "anna", dt.date(2025, 3, 31), 0.25, False, "api", moment, features)]
    assert runs(url) == [("api/v1/2025-03-31", "api", "running", 1, 30, 14, True)]


def test_a_run_holds_everyone_once_and_later_answers_are_kept_beside_it(url, tmp_path):
    log = written(tmp_path / "log", record("anna", score=0.1), record("ben"), record("anna", at=DAY + 1))
    Sender(url, "churn", tmp_path / "log").round()
    log.write(msgspec.json.encode(tuple(record("anna", at=DAY + 2))) + b"\n")
    Sender(url, "churn", tmp_path / "log").round()
    found = rows(url, "entity, split_part(run_key, '/', 1), score")
    assert sorted(found) == [("anna", "again", 0.25), ("anna", "again", 0.25), ("anna", "api", 0.1), ("ben", "api", 0.25)]
    assert runs(url)[0][3] == 2


def test_days_and_months_have_runs_and_partitions_of_their_own(url, tmp_path):
    written(tmp_path / "log", record("anna"), record("anna", at=DAY + 86_400_000_000))
    Sender(url, "churn", tmp_path / "log").round()
    assert [run[0] for run in runs(url)] == ["api/v1/2025-03-31", "api/v1/2025-04-01"]


def test_the_sender_reads_behind_the_writer_and_deletes_what_has_arrived(url, tmp_path):
    log = written(tmp_path / "log", record())
    sending = Sender(url, "churn", tmp_path / "log")
    assert [sending.round(), sending.round()] == [1, 0]
    assert len(spool.segments(tmp_path / "log")) == 1
    log.write(msgspec.json.encode(tuple(record())) + b"\n")
    log.close()
    assert sending.round() == 1
    assert spool.segments(tmp_path / "log") == []
    assert len(rows(url)) == 2
    with postgres.connect(url) as connection:
        assert connection.execute("select count(*) from evergreen.log_segments").fetchone() == (0,)


def test_half_a_line_is_not_sent_before_it_is_whole(url, tmp_path):
    line = msgspec.json.encode(tuple(record())) + b"\n"
    log = Spool(tmp_path / "log")
    log.write(line[:40])
    sending = Sender(url, "churn", tmp_path / "log")
    assert sending.round() == 0
    log.write(line[40:])
    assert sending.round() == 1


def test_a_broken_line_holds_up_no_other(url, tmp_path):
    log = written(tmp_path / "log", record())
    log.write(b"\x00\x00\x00\n" + msgspec.json.encode(tuple(record())) + b"\n[1,2")
    log.close()
    sending = Sender(url, "churn", tmp_path / "log")
    sending.round()
    assert (len(rows(url)), sending.unreadable) == (2, 2)


@pytest.mark.parametrize("point", ["send:read", "send:copied", "send:committed", "send:unlinked"])
def test_a_killed_sender_sends_nothing_twice_and_leaves_nothing_out(url, tmp_path, point):
    written(tmp_path / "log", *(record(f"customer {number % 40}", at=DAY + number) for number in range(60))).close()
    command = [sys.executable, "-c", SENDING, url, str(tmp_path / "log")]
    killed = subprocess.run(command, env=os.environ | {"EVERGREEN_FAULT": f"{point}:kill"}, check=False)
    assert killed.returncode == -signal.SIGKILL
    Sender(url, "churn", tmp_path / "log").round()
    assert len(rows(url)) == len({row[0] for row in rows(url, "prediction_id")}) == 60
    assert runs(url)[0][3] == 40


def test_while_postgres_is_away_the_spool_waits(url, tmp_path):
    log = written(tmp_path / "log", record())
    away = url.rpartition(":")[0] + ":1/" + url.rpartition("/")[2]
    sending = Sender(away, "churn", tmp_path / "log")
    assert sender.attempt(sending) is False
    told = json.loads((tmp_path / "log" / sender.PROGRESS).read_text())
    assert told["waiting_bytes"] == spool.segments(tmp_path / "log")[0].stat().st_size
    assert "Postgres at" in told["error"]
    log.close()
    sending.url = url
    assert sender.attempt(sending) is True
    assert len(rows(url)) == 1
    assert json.loads((tmp_path / "log" / sender.PROGRESS).read_text())["waiting_bytes"] == 0


def test_of_two_senders_the_second_waits_and_takes_over(url, tmp_path):
    log = written(tmp_path / "log", record())
    first, second = (Sender(url, "churn", tmp_path / "log") for _ in range(2))
    assert sender.attempt(first) and sender.attempt(second)
    assert (len(rows(url)), second.sent) == (1, {})
    log.write(msgspec.json.encode(tuple(record())) + b"\n")
    log.close()
    first.close()
    assert sender.attempt(second)
    assert len(rows(url)) == 2


def test_runs_of_days_gone_by_are_complete_when_all_has_arrived(url, tmp_path):
    written(tmp_path / "log", record())
    sending = Sender(url, "churn", tmp_path / "log")
    sending.round()
    sending.end_runs(dt.date(2025, 3, 31))
    assert runs(url)[0][2] == "running"
    sending.end_runs(dt.date(2025, 4, 1))
    assert runs(url)[0][2] == "complete"


def test_a_database_that_refuses_loses_nothing(url, tmp_path):
    written(tmp_path / "log", record())
    with postgres.connect(url) as connection:
        connection.execute("alter table evergreen.scoring_runs add constraint no_api check (source = 'batch')")
    with pytest.raises(EvergreenError):
        Sender(url, "churn", tmp_path / "log").round()
    assert rows(url) == []
    assert len(spool.segments(tmp_path / "log")) == 1


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    log = written(tmp_path / "log", record())
    [segment] = spool.segments(tmp_path / "log")
    before, plain = segment.read_bytes(), os.write

    def fills_up(descriptor, content):
        if len(content) < 10:
            raise OSError(28, "No space left on device")
        return plain(descriptor, content[:-5])

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(OSError, match="No space"):
        log.write(b"0123456789abc\n")
    monkeypatch.undo()
    assert segment.read_bytes() == before
    assert records.read(before.strip()) is not None
