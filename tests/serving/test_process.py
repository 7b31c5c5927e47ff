"""The API as a program: it drains, SIGKILL loses no answer, it swaps under load, and idle clients do no harm."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from pipelines.data import postgres
from pipelines.registry import ledger
from serving import keys
from tests.conftest import free_ports
from tests.support import served_versions as versions
from tests.support.served_versions import ROW


class Server:
    """`python -m serving` with a home of its own; its log is in `log`."""

    def __init__(self, home: Path, url: str) -> None:
        self.home, self.ledger = home, url
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.models, self.log = home / "models", home / "api.log"
        self.models.mkdir(parents=True)
        self.key = keys.create(url, "test", ["predict"])
        self.process: subprocess.Popen | None = None

    def start(self, **settings: str) -> None:
        environment = os.environ | {
            "EVERGREEN_HOME": str(self.home), "EVERGREEN_URL": self.ledger, "EVERGREEN_API_URL": self.url,
            "EVERGREEN_API_MODEL": "churn", "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        }  # fmt: skip
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving"], cwd=self.home, env=environment | settings, stdout=log, stderr=log
            )
        self.until(lambda: self.ready().get("ready"))

    def ready(self) -> dict:
        try:
            return httpx.get(f"{self.url}/ready", trust_env=False).json()
        except httpx.HTTPError:
            return {}

    def until(self, condition, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end and self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, trust_env=False, timeout=30)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}

    def logged(self) -> list[str]:
        with postgres.connect(self.ledger) as connection:
            found = connection.execute("select prediction_id::text from evergreen.predictions").fetchall()
        return [identity for (identity,) in found]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(40)


@pytest.fixture
def server(ledger_url, tmp_path):
    ledger.migrate(ledger_url)
    made = Server(tmp_path / "home", ledger_url)
    versions.promote(ledger_url, made.models, 0.0)
    yield made
    if made.process and made.process.poll() is None:
        made.process.kill()
        made.process.wait(10)


class Load:
    """Clients that ask one request after the other; every answer's id and version, and every failure."""

    def __init__(self, server: Server, clients: int = 4) -> None:
        self._server, self._clients = server, clients
        self.answers: list[dict] = []
        self.failures: list[str] = []
        self.ended = False

    async def run(self, during) -> None:
        asking = [asyncio.create_task(self._ask()) for _ in range(self._clients)]
        await during()
        self.ended = True
        await asyncio.gather(*asking)

    async def reach(self, answers: int) -> None:
        while len(self.answers) < answers:
            await asyncio.sleep(0.02)

    async def _ask(self) -> None:
        async with httpx.AsyncClient(
            base_url=self._server.url, headers=self._server.headers, trust_env=False, timeout=30
        ) as client:
            while not self.ended:
                try:
                    answer = await client.post("/predict", json=ROW)
                except httpx.ConnectError:  # the server has closed its door: this request was never taken
                    return
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                    return
                if answer.status_code == 200:
                    self.answers.append(answer.json())
                else:
                    self.failures.append(answer.text)


def test_sigterm_under_load_drops_nothing_and_exits_0(server):
    server.start()
    load, codes = Load(server), []

    async def during():
        await load.reach(60)
        server.process.send_signal(signal.SIGTERM)
        codes.append(await asyncio.to_thread(server.process.wait, 40))

    asyncio.run(load.run(during))
    assert (codes, load.failures) == ([0], [])
    assert sorted(server.logged()) == sorted(one["prediction_id"] for one in load.answers)


def test_sigkill_loses_nothing_that_was_answered(server):
    server.start()
    load = Load(server)

    async def during():
        await load.reach(60)
        server.process.kill()
        await asyncio.to_thread(server.process.wait, 10)

    asyncio.run(load.run(during))
    answered = {one["prediction_id"] for one in load.answers}
    server.start()
    server.until(lambda: answered <= {*server.logged()})
    assert len(server.logged()) == len({*server.logged()})


def test_a_promotion_under_load_fails_no_request_and_is_served_within_five_seconds(server):
    server.start()
    load, taken = Load(server), []

    async def during():
        await load.reach(20)
        await asyncio.to_thread(versions.promote, server.ledger, server.models, 0.5)
        began = time.monotonic()
        while load.answers[-1]["version"] == 1 and time.monotonic() - began < 10:
            await asyncio.sleep(0.02)
        taken.append(time.monotonic() - began)
        await load.reach(len(load.answers) + 20)

    asyncio.run(load.run(during))
    assert load.failures == []
    assert taken[0] < 5
    served = [one["version"] for one in load.answers]
    assert {*served} == {1, 2}
    for one in load.answers:  # the answer and its version belong together
        assert one["probability"] == pytest.approx(0.7503 if one["version"] == 1 else 0.8320, abs=1e-4)


@pytest.fixture
def many_files():
    """This process may hold as many connections as the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.long
@pytest.mark.usefixtures("many_files")
def test_a_thousand_idle_connections_and_slow_ones_do_no_harm(server):
    server.start()
    address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
    with contextlib.ExitStack() as opened, server.client() as client:
        idle, slow = ([opened.enter_context(socket.create_connection(address)) for _ in range(many)] for many in (900, 100))
        for one in slow:
            key = f"Authorization: Bearer {server.key}\r\n".encode()
            one.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + key + b"Content-Length: 100\r\n\r\n{")
        taken = []
        for _ in range(50):
            began = time.perf_counter()
            assert client.get("/health").status_code == 200
            taken.append(time.perf_counter() - began)
        assert statistics.quantiles(taken, n=100)[98] < 1
        assert client.post("/predict", json=ROW).status_code == 200
        for one in (*idle[:3], *slow[:3]):  # closed by the server in the end
            one.settimeout(20)
            assert one.recv(1000) == b""


@pytest.mark.long
def test_headers_without_end_are_not_kept(server):
    server.start()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as talker, server.client() as client:
        talker.sendall(b"POST /predict HTTP/1.1\r\nX: ")
        with pytest.raises(OSError):  # a reset or a broken pipe, as it comes
            for _ in range(50):
                talker.sendall(b"x" * 2**16)
                time.sleep(0.01)
        assert client.post("/predict", json=[ROW] * 90).status_code == 200


@pytest.mark.long
def test_postgres_away_changes_no_answer_and_the_log_arrives_later(server):
    server.start()
    with postgres.connect(server.ledger) as connection:
        connection.execute("alter table evergreen.predictions rename to away")
    with server.client() as client:
        answered = [client.post("/predict", json=ROW).json()["prediction_id"] for _ in range(5)]
    server.until(lambda: server.ready()["log"])
    with postgres.connect(server.ledger) as connection:
        connection.execute("alter table evergreen.away rename to predictions")
    server.until(lambda: {*answered} == {*server.logged()})


@pytest.mark.long
def test_a_killed_sender_is_started_again(server):
    import psutil

    server.start()
    [sender] = [child for child in psutil.Process(server.process.pid).children() if "serving.sender" in child.cmdline()]
    sender.kill()
    with server.client() as client:
        answered = client.post("/predict", json=ROW).json()["prediction_id"]
    server.until(lambda: answered in server.logged())


@pytest.mark.long
def test_a_start_without_the_ledger_serves_and_says_that_it_is_stale(server):
    server.start()
    with server.client() as client:
        client.post("/predict", json=ROW)
    assert server.stop() == 0
    there, server.ledger = server.ledger, server.ledger.rpartition(":")[0] + ":1/none"
    server.start()
    with server.client() as client:
        found = client.post("/predict", json=ROW).json()
    assert (found["version"], found["stale"]) == (1, True)
    assert server.stop() == 0
    server.ledger = there
    server.start()
    server.until(lambda: found["prediction_id"] in server.logged())


def test_the_process_loads_no_pickles_and_imports_nothing_that_does(server):
    """An audit hook in the very process, from its first line on."""
    hook = server.home / "sitecustomize.py"
    hook.write_text(AUDIT)
    seen = server.home / "seen.txt"
    server.start(PYTHONPATH=f"{server.home}:{Path(__file__).parents[2]}", SEEN=str(seen))
    with server.client() as client:
        assert client.post("/predict", json=ROW).status_code == 200
        assert client.post("/predict", params={"explain": "true"}, json=ROW).status_code == 200
        assert client.get("/model").status_code == 200
    server.until(lambda: len(server.logged()) == 2)
    told = [line for line in seen.read_text().splitlines() if line.startswith(f"{server.process.pid} ")]
    told = [line.partition(" ")[2] for line in told]  # the sender reads no model, and pyarrow asks for cloudpickle
    assert "import json" in told  # the hook was there
    assert [line for line in told if line.startswith("pickle")] == []
    loaders = {"cloudpickle", "dill", "joblib", "mlflow", "mlflow.pyfunc", "skops"}
    assert loaders & {line.removeprefix("import ") for line in told} == set()


AUDIT = """
import os, sys
_seen = open(os.environ["SEEN"], "a", buffering=1)
def _note(event, arguments):
    if event == "pickle.find_class":
        _seen.write(f"{os.getpid()} pickle {arguments}\\n")
    elif event == "import":
        _seen.write(f"{os.getpid()} import {arguments[0]}\\n")
sys.addaudithook(_note)
"""
