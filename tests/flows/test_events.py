"""Events: what they say, and that one which was not taken is never lost in silence."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from flows import events, manual
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from tests.conftest import free_ports
from tests.support.ledgers import register


@contextmanager
def answering(status: int, bodies: list[bytes] | None = None) -> Iterator[str]:
    """Address of a server that answers every POST with this status, and keeps what was posted."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # the client asks for a CSRF token first: there is none
            self.send_response(404)
            self.end_headers()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if bodies is not None:
                bodies.append(body)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()


def test_an_event_is_about_a_model_and_says_what_and_what_next() -> None:
    event = events.describe("churn", "quarantine", {"cause": "2025-10", "why": "charges are in cents."})
    assert event["event"] == "evergreen.quarantine"
    assert event["resource"] == {
        "prefect.resource.id": "evergreen.model.churn",
        "prefect.resource.name": "churn",
        "evergreen.cause": "2025-10",
    }
    assert event["payload"]["message"] == "a data incident"
    assert event["payload"]["why"] == "charges are in cents."
    assert "prefect deployment run 'monitor/churn' -p window=2025-10 -p force=true" in event["payload"]["next"]


def test_the_caller_may_say_it_better() -> None:
    payload = events.describe("churn", "review", {"next": "`evergreen open`", "message": "seniors are passed over"})["payload"]
    assert (payload["next"], payload["message"]) == ("`evergreen open`", "seniors are passed over")


def test_what_the_server_takes_is_emitted() -> None:
    with answering(204) as api:
        events.emit("churn", "retrain", {"cause": "2025-10", "as_of": "", "why": "lost"}, api=api)


def test_a_server_that_is_away_is_an_error_that_may_pass() -> None:
    api = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    with pytest.raises(TransientError, match=r"did not take the event evergreen.retrain of 'churn': no answer \(ConnectError"):
        events.emit("churn", "retrain", {"cause": "2025-10"}, api=api)


@pytest.mark.parametrize(("status", "may_pass"), [(500, True), (422, False), (401, False)])
def test_a_server_that_does_not_take_it_is_an_error(status: int, may_pass: bool) -> None:
    with answering(status) as api, pytest.raises(EvergreenError, match=f"status {status}") as error:
        events.emit("churn", "promoted", {}, api=api)
    assert isinstance(error.value, TransientError) == may_pass


def test_a_promotion_by_hand_stands_when_nobody_can_be_told(ledger_url: str, tmp_path) -> None:
    ledger.migrate(ledger_url)
    version = register(ledger_url, "a")
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}/api"
    settings = Settings(tmp_path, tmp_path, evergreen=ledger_url, prefect_api_url=nobody)
    ledger.promote(ledger_url, version.model, 1, expected_revision=0, actor="me", reason="me: tried", verdict={})
    said: list[str] = []
    manual._announce(settings, version.model, [], said.append)
    assert "The promotion stands, and nobody was notified: Prefect did not take" in said[0]
    manual._announce(settings, version.model, ledger.history(ledger_url, version.model, 1), said.append)  # it was there before
    assert len(said) == 1


def test_a_promotion_is_told_with_its_predecessor_and_reason(ledger_url: str) -> None:
    ledger.migrate(ledger_url)
    model = register(ledger_url, "a").model
    row = ledger.promote(ledger_url, model, 1, expected_revision=0, actor="me", reason="It is better.", verdict={})
    assert events.promotion(row) == {"version": "1", "why": "v1 is champion. It is better."}


def test_a_new_champion_is_announced_to_the_server_of_the_settings(ledger_url: str, tmp_path) -> None:
    ledger.migrate(ledger_url)
    model, bodies = register(ledger_url, "a").model, list[bytes]()
    row = ledger.promote(ledger_url, model, 1, expected_revision=0, actor="me", reason="It is better.", verdict={})
    with answering(204, bodies) as api:
        events.announce_promotion(Settings(tmp_path, tmp_path, prefect_api_url=api), row, cause="2025-10")
    ((event,),) = [json.loads(body) for body in bodies]
    assert event["event"] == "evergreen.promoted"
    assert event["resource"]["prefect.resource.id"] == f"evergreen.model.{model}"
    assert (event["payload"]["why"], event["payload"]["cause"]) == ("v1 is champion. It is better.", "2025-10")
