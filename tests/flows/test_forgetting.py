"""Erasing a person: gone from all that holds a row of theirs, whatever is killed; what has no key stays whole."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli import app, store_commands
from flows import erasure
from flows.execution import cached, workspace
from monitoring.stages import reference
from pipelines import onnx_model
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger
from pipelines.scoring import predictions
from serving import spool
from serving.sender import Sender
from tests.support import small_clone

WHO, OTHER = "C-77 of the canaries", "C-78"
DAY = dt.date(2025, 1, 31)
FORGET = """
import sys
import uuid
from flows import erasure
from pipelines.config import params
from pipelines.config.settings import load as load_settings
here, config = load_settings(), params.read()
print(erasure.forget(here, config.model, config.data, sys.argv[1], actor="tester"))
"""


def table(*people: str) -> bytes:
    """A snapshot with rows of these people."""
    buffer = io.BytesIO()
    pq.write_table(pa.table({"customer_id": list(people), "usage": [float(len(one)) for one in people]}), buffer)
    return buffer.getvalue()


@pytest.fixture
def settings(tmp_path: Path, ledger_url: str) -> Settings:
    """Three versions, of which the second was made without the person; scores, outcomes, a log and files that name them."""
    snapshots = {1: table(WHO, OTHER), 2: table(OTHER), 3: table(OTHER, WHO, "C-1")}
    settings = small_clone.make(tmp_path / "clone", ledger_url, 3, snapshots)
    plan = predictions.Plan(model="churn", version=1, as_of=DAY, horizon_days=30, embargo_days=14, query_sha256="0")
    run = predictions.begin(ledger_url, plan)
    with postgres.connect(ledger_url) as connection:
        writer = predictions.Writer(connection, run)
        writer.write(pa.array([OTHER, WHO]), np.array([0.1, 0.9]), np.array([False, True]))
        writer.finish()
        for who in (WHO, OTHER):
            connection.execute(
                "insert into evergreen.outcomes (model, entity, as_of, horizon_days, label, available_at) "
                "values ('churn', %s, %s, 30, 1, '2025-03-01')",
                [who, DAY],
            )
    log = settings.home / "serving" / "churn" / "log" / "1-a.log"
    log.parent.mkdir(parents=True)
    lines = [json.dumps([f"id{n}", 1, 1, 30, 14, 0.5, True, who, {"usage": 2}]) for n, who in enumerate((OTHER, WHO, OTHER))]
    log.write_text("\n".join([*lines, '["half a li']))
    version = ledger.version(ledger_url, "churn", 3)
    (settings.folder / "dvc.lock").write_bytes(workspace.content(settings.folder, version.git_commit, "dvc.lock"))
    (settings.folder / "data").mkdir()
    (settings.folder / "data" / "rows.parquet").write_bytes(table(OTHER, WHO, "C-1"))
    left = settings.home / "runs" / "killed" / "data"
    left.mkdir(parents=True)
    (left / "training.parquet").write_bytes(table(WHO))
    return settings


def forget(settings: Settings, who: str = WHO) -> erasure.Forgotten:
    config = params.read(settings.folder / "params.yaml")
    return erasure.forget(settings, config.model, config.data, who, actor="tester")


def places_with(settings: Settings, who: str) -> list[str]:
    """Every file of the home and the clone, and every table of ours, that holds these bytes."""
    folders = [path for path in (settings.home, settings.folder) if path.exists()]
    found = [
        str(path) for folder in folders for path in folder.rglob("*") if path.is_file() and who.encode() in path.read_bytes()
    ]
    with postgres.connect(settings.evergreen_url) as admin:
        tables = admin.execute("select tablename from pg_tables where schemaname = 'evergreen'").fetchall()
        for (name,) in tables:
            asked = f"select count(*) from evergreen.{name} as kept where position(%s in kept::text) > 0"
            if admin.execute(asked, [who]).fetchone() != (0,):
                found.append(name)
    return found


def test_a_person_is_gone_from_everywhere_and_nobody_else_is(settings):
    assert len(places_with(settings, WHO)) > 6
    found = forget(settings)
    assert (found.predictions, found.outcomes, found.logged) == (1, 1, 1)
    assert len(found.files) == 2 * 2 + 2  # two snapshots in cache and remote; the clone's copy, and a killed run's
    assert places_with(settings, WHO) == []
    assert found.kept == () and found.lost == (1, 3)
    with postgres.connect(settings.evergreen_url) as connection:
        assert connection.execute("select entity from evergreen.predictions").fetchall() == [(OTHER,)]
        assert connection.execute("select entity from evergreen.outcomes").fetchall() == [(OTHER,)]
        assert connection.execute("select row_count, last_entity, state from evergreen.scoring_runs").fetchall() == [
            (2, None, "complete")
        ]
    second = ledger.version(settings.evergreen_url, "churn", 2)
    assert all(cached.find(settings, md5) for md5 in cached.outputs(settings.folder, second.git_commit).values())


def test_a_preview_says_what_goes_and_changes_nothing(settings):
    before = places_with(settings, WHO)
    config = params.read(settings.folder / "params.yaml")
    coming = erasure.preview(settings, config.model, config.data, WHO)
    assert places_with(settings, WHO) == before
    assert coming == forget(settings)


@pytest.mark.parametrize(
    ("answer", "said"), [("n\n", "Nothing was erased"), ("", "Nothing was erased"), ("y\n", "1 predictions, 1 outcomes")]
)
def test_erasing_is_asked_for_at_the_terminal(settings, monkeypatch, answer, said):
    ended = at_a_terminal(settings, monkeypatch, ["store", "erase", WHO], answer)
    assert said in ended.output + str(ended.exception)
    assert "would be erased of customer_id C-77" in ended.output and "v1, v3" in ended.output
    assert bool(places_with(settings, WHO)) is (answer != "y\n")


def test_without_a_terminal_nothing_is_erased_unless_yes_is_said(settings, monkeypatch):
    monkeypatch.chdir(settings.folder)
    refused = CliRunner().invoke(app.app, ["store", "erase", WHO])
    assert isinstance(refused.exception, EvergreenError) and "Pass --yes" in str(refused.exception)
    assert len(places_with(settings, WHO)) > 6
    assert CliRunner().invoke(app.app, ["store", "erase", WHO, "--yes"]).exit_code == 0
    assert places_with(settings, WHO) == []


def at_a_terminal(settings, monkeypatch, words, answer):
    monkeypatch.chdir(settings.folder)
    monkeypatch.setattr(store_commands, "_is_asked", lambda: True)
    return CliRunner().invoke(app.app, words, input=answer)


def test_the_log_keeps_its_length_and_the_lines_of_others(settings):
    log = settings.home / "serving" / "churn" / "log" / "1-a.log"
    before = log.read_bytes()
    forget(settings)
    after = log.read_bytes()
    assert len(after) == len(before)
    assert [line for line in after.split(b"\n") if line.strip()] == [
        line for line in before.split(b"\n") if WHO.encode() not in line
    ]


def test_what_the_api_has_written_and_not_sent_arrives_without_the_person(settings):
    """By the API's own spool and sender; the segment is open, and part of it was sent before."""
    log = settings.home / "serving" / "churn" / "log"
    (log / "1-a.log").unlink()
    written = spool.Spool(log)
    moment = int(dt.datetime(2025, 3, 31, 12, tzinfo=dt.UTC).timestamp() * 1e6)

    def write(*people: str) -> None:
        for who in people:
            line = [str(uuid.uuid4()), moment, 1, 30, 14, 0.5, True, who, {"usage": 2}]
            written.write(json.dumps(line).encode() + b"\n")

    sender = Sender(settings.evergreen_url, "churn", log)
    write(OTHER, WHO)
    assert sender.round() == 2
    write(WHO, "C-1")
    assert forget(settings).logged == 2
    sender.round()
    assert sender.unreadable == 0
    with postgres.connect(settings.evergreen_url) as connection:
        found = connection.execute("select entity from evergreen.predictions where source = 'api' order by 1").fetchall()
    assert found == [("C-1",), (OTHER,)]
    assert places_with(settings, WHO) == []
    written.close()


def test_twice_is_once_and_an_erasure_does_not_say_who(settings):
    forget(settings)
    again = forget(settings)
    assert (again.predictions, again.outcomes, again.logged, again.files, again.lost) == (0, 0, 0, (), (1, 3))
    with postgres.connect(settings.evergreen_url) as connection:
        rows = connection.execute("select predictions, outcomes, files, versions, actor from evergreen.erasures").fetchall()
    assert rows == [(1, 1, 6, [1, 3], "tester")]


@pytest.mark.parametrize("point", ["forget:log", "forget:rows", "forget:files"])
def test_a_killed_erasure_is_finished_by_the_next(settings, point):
    command = [sys.executable, "-c", FORGET, WHO]
    killed = subprocess.run(
        command, cwd=settings.folder, env=os.environ | {"EVERGREEN_FAULT": f"{point}:kill"}, capture_output=True, check=False
    )
    assert killed.returncode == -9
    forget(settings)
    assert places_with(settings, WHO) == []


def test_versions_and_decisions_stay_and_every_bundle_still_loads(settings):
    before = ledger.versions(settings.evergreen_url, "churn")
    forget(settings)
    assert ledger.versions(settings.evergreen_url, "churn") == before
    for version in before:
        assert onnx_model.load(settings.home / "models" / version.bundle_sha256, version.manifest).session is not None


def test_a_table_that_is_not_ours_to_delete_is_named(settings):
    export = settings.folder / "export.parquet"
    export.write_bytes(table(WHO))
    found = forget(settings)
    assert found.kept == (str(export),) and export.exists()


def test_the_sample_in_a_bundle_has_no_key_and_no_personal_column():
    """So a bundle, whose digests the ledger holds, need not change when a person is erased."""
    config = params.read(small_clone.ROOT / "params.yaml")
    data = config.data.model_copy(update={"personal": ["phone"], "protected": ["gender"]})
    config = config.model_copy(update={"data": data})
    rows = pa.table(
        {
            "customer_id": [WHO], "snapshot_date": [DAY], "churned": [1], "phone": ["0171"], "gender": ["f"], "usage": [1.0],
            reference.PREDICTION: [0.5],
        }
    )  # fmt: skip
    shown = reference.draw_sample(rows, {"numbers": ["usage"], "categories": {"phone": ["0171"]}}, config)
    assert shown.column_names == ["usage", "gender", reference.PREDICTION]


def test_a_scoring_run_or_a_retraining_that_is_going_on_is_not_overtaken(settings):
    plan = predictions.Plan(model="churn", version=2, as_of=DAY, horizon_days=30, embargo_days=14, query_sha256="0")
    predictions.begin(settings.evergreen_url, plan)
    from pipelines.registry import schema

    with (
        schema.locked(settings.evergreen_url, f"evergreen/score/churn/v2/{DAY}", "taken"),
        pytest.raises(EvergreenError, match="scoring run batch/v2/2025-01-31 is going on"),
    ):
        forget(settings)
    with ledger.retraining_lock(settings.evergreen_url, "churn"), pytest.raises(EvergreenError, match="already running"):
        forget(settings)
    assert len(places_with(settings, WHO)) > 6
    forget(settings)  # a run that was killed holds no lock, and is in nobody's way


@pytest.mark.parametrize(
    "change",
    [
        "delete from evergreen.predictions",
        "delete from evergreen.outcomes",
        "set evergreen.erasing = 'on'; update evergreen.predictions set score = 0",
        "set evergreen.erasing = 'on'; truncate evergreen.outcomes",
        "set evergreen.erasing = 'on'; delete from evergreen.profiles",
        "set evergreen.erasing = 'on'; delete from evergreen.model_versions",
        "set evergreen.erasing = 'on'; delete from evergreen.promotions",
        "delete from evergreen.erasures",
    ],
)
def test_the_door_is_for_scores_and_outcomes_and_only_while_erasing(settings, change):
    with pytest.raises(EvergreenError, match="append-only"), postgres.connect(settings.evergreen_url) as owner:
        owner.execute(change)


def test_after_an_erasure_the_door_is_closed_again(settings):
    with pytest.raises(EvergreenError, match="append-only"), postgres.connect(settings.evergreen_url) as owner:
        owner.execute("select evergreen.erase_entity('churn', %s)", [WHO])
        owner.execute("delete from evergreen.outcomes")


def test_whoever_has_several_rows_is_forgotten_by_the_keys_of_all_of_them(settings: Settings, ledger_url: str) -> None:
    """A table without a clock: scores and log lines are kept by the row, and the person's rows are known from the tables."""
    rows = pa.table({"customer_id": [OTHER, WHO, WHO], "visit": ["v1", "v2", "v3"]})
    pq.write_table(rows, settings.folder / "data" / "rows.parquet")
    plan = predictions.Plan(model="churn", version=2, as_of=DAY, horizon_days=0, embargo_days=0, query_sha256="0")
    run = predictions.begin(ledger_url, plan)
    with postgres.connect(ledger_url) as connection:
        writer = predictions.Writer(connection, run)
        writer.write(pa.array(["v1", "v2", "v3"]), np.array([0.1, 0.9, 0.8]), np.array([False, True, True]))
        writer.finish()
    config = params.read(settings.folder / "params.yaml")
    data = config.data.model_copy(update={"entity": "customer_id", "row_key": "visit", "time": None})
    found = erasure.forget(settings, config.model, data, WHO, actor="tester")
    assert found.predictions == 1 + 2 and str(settings.folder / "data" / "rows.parquet") in found.files
    with postgres.connect(ledger_url) as connection:
        left = connection.execute("select entity from evergreen.predictions order by 1").fetchall()
    assert left == [(OTHER,), ("v1",)]
