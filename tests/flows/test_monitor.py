"""What follows a verdict: it is told once, also when the server was away; what never began is asked for again."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import prefect
import pytest
from prefect.logging import disable_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows import backfill
from flows.monitor import _chosen, _lateness, follow_up
from monitoring import feed, store, windows
from monitoring.decide import Decision
from monitoring.store import Judgement, Verdict
from monitoring.subject import Watch
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from tests.support.scoring import crown, publish, url

__all__ = ["url"]  # a fixture
PARAMS = params.read()


class Server(ThreadingHTTPServer):
    """Takes events as Prefect's server does."""

    def __init__(self) -> None:
        self.events: list[dict] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.events += body if self.path == "/api/events" else []
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        token = {"client": "test", "token": "test", "expiration": "2099-01-01T00:00:00Z"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(token if "csrf" in self.path else prefect.__version__).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def watch(url, tmp_path) -> Watch:
    publish(url, tmp_path / "bundle")
    return Watch(url, PARAMS, lambda number: pytest.fail(f"version {number} is not needed"))


def judged(watch: Watch, month: int, action: str) -> Verdict:
    from pipelines.registry import ledger

    window = windows.named(f"2025-{month:02}", "month")
    decision = Decision(action, f"{action} is what {window.key} needs")
    judgement = Judgement(window.last, 900, False, False, decision, None, [])
    return store.record_verdict(watch.url, ledger.version(watch.url, "churn", 1), window, judgement)


def told(watch: Watch, api: str, asked_before: Verdict | None = None) -> None:
    with disable_run_logger(), temporary_settings({PREFECT_API_URL: api}):
        follow_up(watch, asked_before)


def test_what_asks_for_something_is_told_once_with_why_and_as_of(watch, server):
    for month, action in enumerate(["none", "info", "quarantine", "review", "retrain"], start=1):
        judged(watch, month, action)
    told(watch, server.api)
    told(watch, server.api)
    assert [event["event"] for event in server.events] == ["evergreen.quarantine", "evergreen.review", "evergreen.retrain"]
    payload = server.events[-1]["payload"]
    assert (payload["cause"], payload["as_of"]) == ("2025-05", "2025-05-31")
    assert payload["why"] == "retrain is what 2025-05 needs"


def test_what_a_server_that_is_away_did_not_hear_the_next_window_tells(watch, server):
    verdict = judged(watch, 1, "quarantine")
    told(watch, "http://127.0.0.1:9/api")
    assert store.pending(watch.url, "churn") == [verdict]
    judged(watch, 2, "none")
    told(watch, server.api)
    assert [event["payload"]["cause"] for event in server.events] == ["2025-01"]
    assert store.pending(watch.url, "churn") == []


def test_a_retraining_that_never_began_is_asked_for_again_by_the_next_window(watch, server):
    judged(watch, 1, "retrain")
    told(watch, server.api)
    asked_before = store.unanswered(watch.url, "churn")
    judged(watch, 2, "info")
    told(watch, server.api, asked_before)
    assert [event["payload"]["cause"] for event in server.events] == ["2025-01", "2025-01"]


def test_one_that_began_is_not_asked_for_again(watch, server):
    judged(watch, 1, "retrain")
    told(watch, server.api)
    store.begin_retraining(watch.url, "churn", "run-1", "2025-01", "2025-01-28")
    assert store.unanswered(watch.url, "churn") is None
    judged(watch, 2, "info")
    told(watch, server.api, store.unanswered(watch.url, "churn"))
    assert len(server.events) == 1


def test_of_several_requests_that_nobody_heard_the_newest_speaks_for_all(watch, server):
    for month in (1, 2, 3):
        judged(watch, month, "retrain")
        told(watch, "http://127.0.0.1:9/api")
    told(watch, server.api)
    assert [event["payload"]["cause"] for event in server.events] == ["2025-03"]
    assert store.pending(watch.url, "churn") == []


def test_what_was_answered_meanwhile_is_not_asked_for(watch, server):
    judged(watch, 1, "retrain")
    store.begin_retraining(watch.url, "churn", "by-hand", None, None)
    told(watch, server.api)
    assert server.events == [] and store.pending(watch.url, "churn") == []


def test_windows_of_a_version_that_is_champion_no_longer_are_told_to_nobody(watch, server, url, tmp_path):
    judged(watch, 1, "quarantine")
    second, _ = publish(url, tmp_path / "second", {"strong": 1.0, "weak": 0.5})
    crown(url, second)
    told(watch, server.api)
    assert server.events == [] and store.pending(watch.url, "churn") == []


# which windows


def test_all_windows_since_the_newest_verdict_are_judged(watch):
    assert [one.key for one in _chosen(watch, None, dt.date(2025, 4, 5))] == ["2025-03"]
    judged(watch, 1, "none")
    assert [one.key for one in _chosen(watch, None, dt.date(2025, 4, 5))] == ["2025-02", "2025-03"]
    judged(watch, 3, "none")
    assert [one.key for one in _chosen(watch, None, dt.date(2025, 4, 5))] == ["2025-03"]


def test_a_window_that_has_not_ended_is_refused(watch):
    with pytest.raises(EvergreenError, match=r"2025-04 has not ended.*up to 2025-04-05, so 2025-03 is the newest"):
        _chosen(watch, "2025-04", dt.date(2025, 4, 5))
    assert [one.key for one in _chosen(watch, "2025-02", dt.date(2025, 4, 5))] == ["2025-02"]


def test_a_late_source_fails_a_scheduled_run_and_is_told_to_who_began_one_himself():
    late = feed.check_age(dt.date(2026, 12, 1), dt.date(2025, 12, 31), PARAMS.monitor, 0)
    with disable_run_logger():
        assert _lateness(late, False) == " The data ends on 2025-12-31, 335 days before 2026-12-01: a feed is late."
    with pytest.raises(EvergreenError, match=r"a feed is late\. Look after what loads the source"):
        _lateness(late, True)
    assert _lateness([], True) == ""


def test_a_backfill_waits_for_the_retraining_that_a_window_asked_for(watch):
    verdict = judged(watch, 1, "retrain")
    store.begin_retraining(watch.url, "churn", "run-1", "2025-01", "2025-01-28")
    assert backfill.began.fn(watch, verdict)
    store.end_retraining(watch.url, "churn", "run-1", "rejected", version=1)
    assert backfill.waited.fn(watch, verdict) == "rejected"
