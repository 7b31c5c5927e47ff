"""The speed claims of the API: against a bare ASGI application, against the plain way to serve, and what a synced log costs.

All of one run, in turn, one worker, one row a request, by `wrk` with 16 connections. The API checks the key, validates, scores
by LightGBM of 400 trees and writes its prediction log; Postgres takes the log meanwhile.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import httpx
import psutil

from bench import place, served
from bench.figure import Figure
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

CONNECTIONS, SECONDS, ROUNDS = 16, 4, 5
BARE_GOAL, PLAIN_GOAL, TAIL_GOAL, SYNCED_GOAL, MEMORY_GOAL = 1 / 3, 50, 10, 0.15, 1.05
MEMORY_SECONDS = 600
SCRIPT = """
wrk.method = "POST"
wrk.body = [==[BODY]==]
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer KEY"
"""


@dataclass(frozen=True)
class Measured:
    """One run of wrk: requests a second, and latencies in seconds."""

    rate: float
    middle: float
    tail: float  # the 99th percentile
    work: float  # seconds of the server's CPU a request: it tells more where the machine is busy with other things

    def __str__(self) -> str:
        middle, tail, work = self.middle * 1e3, self.tail * 1e3, self.work * 1e6
        return f"{self.rate:,.0f} requests/s, p50 {middle:.2f} ms, p99 {tail:.2f} ms, {work:.0f} us of CPU a request"


def measure(own: Settings, say: Callable[[str], None]) -> list[Figure]:
    """To be called while the own stack runs; its ledger gets a model more.

    Raises:
        EvergreenError: a server did not come up, or refused what wrk sent.
    """
    if shutil.which("wrk") is None:
        say("wrk is not installed (apt-get install wrk), so the API's speed was not measured.")
        return []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        rows = served.table()
        body = json.dumps(served.fit(rows, folder))
        key = served.publish(own, folder)
        rounds = list(_rounds(own, body, key, folder, say))
        growth = memory(own, body, key, folder, say)
        report_others(own, rows, body, key, folder, say)
    return [
        Figure("API, requests/s / bare ASGI", _ratio(rounds, "api", "bare"), BARE_GOAL, "higher"),
        Figure("API, requests/s / sync FastAPI, DataFrame, scikit-learn", _ratio(rounds, "api", "plain"), PLAIN_GOAL, "higher"),
        Figure("API, p99 / p50", median(one["api"].tail / one["api"].middle for one in rounds), TAIL_GOAL),
        Figure("API with a synced log, requests/s / without", _ratio(rounds, "synced", "api"), SYNCED_GOAL, "higher"),
        Figure(f"API, memory after {MEMORY_SECONDS} s under load / at its start", growth, MEMORY_GOAL),
    ]


def report_others(own: Settings, rows: pa.Table, body: str, key: str, folder: Path, say: Callable[[str], None]) -> None:
    """Requests a second with each other candidate; for people to read, without a goal."""
    config = params.read(own.folder / "params.yaml")
    for name in served.OTHERS:
        served.export_other(name, rows, config, folder / name)
        served.publish(own, folder / name, model=f"{served.MODEL}-{name}")
        with _server("api", own, folder / name, model=f"{served.MODEL}-{name}") as (process, url):
            found = _wrk(process, url, body, key, folder, SECONDS)
        say(f"API with {name}: {found}")


def memory(own: Settings, body: str, key: str, folder: Path, say: Callable[[str], None]) -> float:
    """The server's resident memory after a stretch of load, over what it was after the first seconds of it."""
    with _server("api", own, folder) as (process, url):
        _wrk(process, url, body, key, folder, SECONDS)
        before = psutil.Process(process.pid).memory_info().rss
        _wrk(process, url, body, key, folder, MEMORY_SECONDS)
        after = psutil.Process(process.pid).memory_info().rss
    say(f"memory of the API: {before / 2**20:.0f} MB, after {MEMORY_SECONDS} s under load {after / 2**20:.0f} MB")
    return after / before


def _ratio(rounds: list[dict[str, Measured]], one: str, other: str) -> float:
    return median(found[one].rate / found[other].rate for found in rounds)


def _rounds(own: Settings, body: str, key: str, folder: Path, say: Callable[[str], None]) -> Iterator[dict[str, Measured]]:
    """All servers live at once and are asked in turn for a few seconds: what else the machine does then harms all alike."""
    with ExitStack() as opened:
        servers = {name: opened.enter_context(_server(name, own, folder)) for name in ("bare", "api", "synced", "plain")}
        for server in servers.values():
            _wrk(*server, body, key, folder, SECONDS)  # what is done once is done
        for _ in range(ROUNDS):
            found = {name: _wrk(*server, body, key, folder, SECONDS) for name, server in servers.items()}
            for name, one in found.items():
                say(f"{name}: {one}")
            yield found


@contextmanager
def _server(name: str, own: Settings, folder: Path, model: str = served.MODEL) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server in a process of its own, and the address of its /predict."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    commands = {"bare": ["bench.baselines", "bare", str(port)]}
    commands["plain"] = ["bench.baselines", "plain", str(port), str(folder / "pipeline.joblib")]
    synced = {"EVERGREEN_API_FSYNC": str(name == "synced").lower()}
    address = {"EVERGREEN_API_URL": f"http://127.0.0.1:{port}", "EVERGREEN_API_MODEL": model, **synced}
    command = [sys.executable, "-m", *commands.get(name, ["serving"])]
    log = (folder / f"{name}.log").open("ab")
    process = subprocess.Popen(command, cwd=own.folder, env=place.environment(own) | address, stdout=log, stderr=log)
    try:
        _wait(process, f"http://127.0.0.1:{port}", ready="/ready" if name not in commands else "/", log=folder / f"{name}.log")
        yield process, f"http://127.0.0.1:{port}/predict"
    finally:
        process.terminate()
        process.wait(30)
        log.close()


def _wait(process: subprocess.Popen[bytes], url: str, *, ready: str, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(url + ready, timeout=5).status_code < 500:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise EvergreenError(f"A server that was to be measured did not come up:\n{log.read_text(errors='replace')[-2000:]}")


def _wrk(process: subprocess.Popen[bytes], url: str, body: str, key: str, folder: Path, seconds: int) -> Measured:
    script = folder / "post.lua"
    script.write_text(SCRIPT.replace("BODY", body).replace("KEY", key))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-s", str(script), url]
    before = _cpu(process)
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"LC_ALL": "C"})
    worked = _cpu(process) - before
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise EvergreenError(f"wrk was refused:\n{done.stdout}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])
    middle, tail = (_seconds(re.search(rf"\s{share}%\s+([\d.]+)(us|ms|s)", done.stdout)) for share in (50, 99))
    answered = int(re.search(r"(\d+) requests in", done.stdout)[1])
    return Measured(rate, middle, tail, worked / max(1, answered))


def _cpu(process: subprocess.Popen[bytes]) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def _seconds(found: Any) -> float:
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]]
