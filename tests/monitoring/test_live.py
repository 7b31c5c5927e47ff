"""What a page says of the API and the schedules: asked of real servers, and again when the page is opened."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest

from infra.stack import site
from monitoring import live
from monitoring.live import Answer
from monitoring.reports import render


@pytest.fixture
def server():
    """A server whose answer to anything is `server.answer`, as JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps(self.server.answer).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/api/deployments/filter" and asked == {"deployments": {"name": {"any_": ["churn"]}}}
            self.do_GET()

        def log_message(self, *_args):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        served.url = f"http://127.0.0.1:{served.server_port}"
        yield served
        served.shutdown()
        thread.join()


def deployment(flow, paused=False, *active):
    return {"entrypoint": f"flows/{flow}.py:{flow}", "paused": paused, "schedules": [{"active": one} for one in active]}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"ready": True, "version": 3}, Answer("up", "good", "answers by v3")),
        ({"ready": False, "reason": "no champion"}, Answer("not ready", "bad", "no champion")),
        (["nonsense"], Answer("down", "bad", "no answer at URL")),
    ],
)
def test_an_api_is_up_not_ready_or_down(server, answer, told):
    server.answer = answer
    assert live.api(server.url) == told._replace(more=told.more.replace("URL", server.url))


def test_schedules_are_on_paused_or_none(server):
    asked = f"{server.url}/api#churn"
    server.answer = [deployment("score", False, True), deployment("monitor", False, True), deployment("backfill")]
    assert live.schedules(asked) == Answer("on", "good", "monitor, score")
    server.answer[0] = deployment("score", False, False)
    assert live.schedules(asked) == Answer("paused", "warn", "score")
    server.answer[1] = deployment("monitor", True, True)
    assert live.schedules(asked) == Answer("paused", "warn", "all of them")
    server.answer = []
    assert live.schedules(asked) == Answer("none", "calm", "nothing runs by itself")
    server.answer = {"detail": "not found"}
    assert live.schedules(asked).word == "unknown"


def test_the_site_asks_again_whenever_its_first_page_is_opened(server, tmp_path, monkeypatch):
    monkeypatch.setenv("EVERGREEN_HOME", str(tmp_path))
    folder = site.folder(tmp_path)
    assert "evergreen run retrain" in (folder / "index.html").read_text()
    said = render("live.html", kind="api", url=server.url, answer=Answer("down", "bad", "no answer"))
    (folder / "index.html").write_text(f"<html><body>{said}</body></html>")
    server.answer = {"ready": True, "version": 7}

    async def ask(*paths):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(site.app()), base_url="http://site") as client:
            return [await client.get(path) for path in paths]

    *first, missing = asyncio.run(ask("/", "/index.html", "/missing.html"))
    for answer in first:
        assert "answers by v7" in answer.text and "down" not in answer.text
        assert answer.headers["content-security-policy"] == "sandbox allow-scripts"
    assert missing.status_code == 404
