"""Events start a retraining and reach people: on the real stack, with a listener behind a webhook block."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import events, notifications
from infra import doctor
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import AS_OF, Project
from tests.support.clones import Clone, FlowRun, ask, wait_for

BLOCK = "custom-webhook/listener"
QUIET_S = 3  # an event is acted on within a second or two: what comes twice has come by then
TOO_EARLY = "1999-01-01"  # as of which no source has rows, so that a retraining fails at once


@dataclass
class Mailbox:
    """Whatever was posted, in order."""

    url: str
    letters: list[dict[str, str]] = field(default_factory=list)

    def with_text(self, text: str) -> list[dict[str, str]]:
        return [one for one in self.letters if text in one["subject"] or text in one["body"]]

    def only(self, text: str) -> dict[str, str]:
        """The one letter with this text, after waiting for a second one in vain."""
        wait_for(lambda: self.with_text(text), 60, f"a notification with {text!r}")
        time.sleep(QUIET_S)
        (letter,) = self.with_text(text)
        return letter


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    """A listener on this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.letters.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Mailbox(f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


def make_block(settings: Settings, mailbox: Mailbox) -> None:
    """As a person does once, on the Prefect server."""
    letter = {"subject": "{{subject}}", "body": "{{body}}"}
    with temporary_settings({PREFECT_API_URL: settings.prefect_api_url}):
        CustomWebhookNotificationBlock(name="listener", url=mailbox.url, json_data=letter).save("listener", overwrite=True)


@pytest.fixture(scope="module")
def told(stack: Settings, mailbox: Mailbox, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone of the model `told`, deployed, whose people have a block."""
    make_block(stack, mailbox)
    env_file = (stack.folder / ".env").read_text() + f"EVERGREEN_NOTIFY={BLOCK}\n"
    clone = Clone.make(tmp_path_factory.mktemp("told") / "clone", env_file, {"model": "told"})
    clone.deploy()
    return clone


def emit(clone: Clone, kind: events.Kind, **payload: str) -> None:
    events.emit(clone.model, kind, payload, api=clone.settings.prefect_api_url)


def automations(clone: Clone, model: str) -> dict[str, dict[str, Any]]:
    """Name -> automation of a model."""
    found = ask("post", f"{clone.settings.prefect_api_url}/automations/filter", {})
    named = [one for one in found if one["name"].startswith(f"{model}: ")]
    assert len({one["name"] for one in named}) == len(named)
    return {one["name"]: one for one in named}


def runs_of(clone: Clone, cause: str) -> list[dict[str, Any]]:
    found = ask("post", f"{clone.settings.prefect_api_url}/flow_runs/filter", {"limit": 200})
    return [one for one in found if one["parameters"].get("cause") == cause]


def test_a_decision_arrives_once(told: Clone, mailbox: Mailbox) -> None:
    emit(told, "quarantine", cause="2025-10", why="Charges are in cents.")
    letter = mailbox.only("Charges are in cents.")
    assert letter["subject"] == "Evergreen told: a data incident"
    assert "prefect deployment run 'monitor/told' -p window=2025-10" in letter["body"]


def test_many_requests_of_one_cause_start_one_retraining_whose_failure_is_told_once(told: Clone, mailbox: Mailbox) -> None:
    for _ in range(10):
        emit(told, "retrain", cause="2025-11", as_of=TOO_EARLY, why="Performance is lost.")
    (made,) = wait_for(lambda: runs_of(told, "2025-11"), 60, "a retraining")
    assert made["parameters"] == {"as_of": TOO_EARLY, "cause": "2025-11"}
    run = FlowRun(told.settings.prefect_api_url, made["id"])
    assert run.wait()["type"] == "FAILED"
    letter = mailbox.only(f"/runs/flow-run/{run.id}")
    assert letter["subject"] == "Evergreen told: retrain failed"
    assert "prefect deployment run 'retrain/told' --watch" in letter["body"]
    labels = ask("get", f"{run.api}/flow_runs/{run.id}")["labels"]
    assert labels[events.CAUSE] == "2025-11"
    assert len(runs_of(told, "2025-11")) == 1


def test_without_a_date_the_retraining_takes_the_newest(told: Clone) -> None:
    api = told.settings.prefect_api_url
    ask("patch", f"{api}/work_pools/cpu", {"is_paused": True})  # it is not to run
    try:
        emit(told, "retrain", cause="2025-12", as_of="", why="Performance is lost.")
        (made,) = wait_for(lambda: runs_of(told, "2025-12"), 60, "a retraining")
        ask("delete", f"{api}/flow_runs/{made['id']}")
    finally:
        ask("patch", f"{api}/work_pools/cpu", {"is_paused": False})
    assert made["parameters"] == {"as_of": None, "cause": "2025-12"}


def test_nobody_is_told_of_another_model(told: Clone, mailbox: Mailbox) -> None:
    events.emit("other", "quarantine", {"why": "Not ours."}, api=told.settings.prefect_api_url)
    emit(told, "review", why="Ours, and later.")
    assert mailbox.only("Ours, and later.")
    assert mailbox.with_text("Not ours.") == []


def test_deploying_twice_doubles_nothing_and_keeps_what_a_person_paused(told: Clone) -> None:
    before = automations(told, "told")
    assert len(before) == 3
    (decisions,) = [one for name, one in before.items() if name.endswith("of decisions")]
    api = f"{told.settings.prefect_api_url}/automations/{decisions['id']}"
    ask("patch", api, {"enabled": False})
    told.deploy()
    after = automations(told, "told")
    assert after.keys() == before.keys()
    assert after[decisions["name"]]["enabled"] is False
    ask("patch", api, {"enabled": True})


def test_a_block_that_is_no_longer_named_is_no_longer_told(told: Clone) -> None:
    settings, deployments = told.settings, ["retrain/told"]
    blocks = notifications.find_blocks(settings)
    for model in ("other", "another"):
        assert len(notifications.put_up(settings, model, blocks, deployments)) == 2
    assert notifications.put_up(settings, "other", {}, deployments) == []
    assert automations(told, "other") == {}
    assert len(automations(told, "another")) == 2
    notifications.put_up(settings, "another", {}, deployments)


def test_a_block_that_is_not_there_is_named_before_anything_changes(told: Clone) -> None:
    settings = replace(told.settings, notify=(BLOCK, "slack-webhook/nobody"))
    with pytest.raises(EvergreenError, match=r"slack-webhook/nobody, and Prefect has no such block.*block create slack"):
        notifications.find_blocks(settings)
    (found,) = [one for one in doctor.diagnose(settings) if "EVERGREEN_NOTIFY" in one.what]
    assert "slack-webhook/nobody" in found.what
    assert "prefect block create slack-webhook" in found.next


def test_a_block_that_cannot_notify_is_named(told: Clone) -> None:
    from prefect.blocks.system import Secret

    with temporary_settings({PREFECT_API_URL: told.settings.prefect_api_url}):
        Secret(value="x").save("word", overwrite=True)
    with pytest.raises(EvergreenError, match="secret/word, which cannot notify"):
        notifications.find_blocks(replace(told.settings, notify=("secret/word",)))


@pytest.mark.long
def test_a_promotion_is_told_once(project: Project, mailbox: Mailbox, tmp_path: Path) -> None:
    make_block(project.settings, mailbox)
    env_file = (project.clone.folder / ".env").read_text() + f"EVERGREEN_NOTIFY={BLOCK}\n"
    changes = {"evaluate.bootstrap": 200, "tune.trials": 2, "candidates.enabled": {"linear": "cpu", "lightgbm": "cpu"}}
    clone = Clone.make(tmp_path / "clone", env_file, changes | {"model": "promoted"})
    clone.deploy()
    clone.retrain(as_of=AS_OF)
    (row,) = ledger.history(clone.settings.evergreen_url, "promoted")
    letter = mailbox.only("Evergreen promoted: a new champion")
    assert letter["body"].startswith(f"v1 is champion. {row.reason}")
    again = clone.retrain(as_of=AS_OF)  # the same bundle, which is champion already
    assert "announce" in again.tasks()
    assert mailbox.only("Evergreen promoted: a new champion") == letter
