"""A whole retraining of 200,000 rows against the lean script of the same work, and where its time goes."""

from __future__ import annotations

import itertools
import re
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import place
from bench.figure import Figure
from examples.telecom import load
from infra.stack import pools
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.stage import TIMES
from pipelines.data import extract

CUSTOMERS, AS_OF = 36_200, "2024-12-31"  # 200,000 rows of the simulated company
LEAN_GOAL, ORCHESTRATION_S, HANDOVER_S = 2.5, 10, 12
OWN_POOL = "pool:cpu"
LEAN = Path(__file__).with_name("lean.py")


def measure(own: Settings, say: Callable[[str], None]) -> list[Figure]:
    """The flow run, every stage of it executed, between two runs of the lean script."""
    load.load_demo(own.load_url, customers=CUSTOMERS, say=say)
    config = params.read(own.folder / "params.yaml")
    queries = extract.Queries(own.folder / "sql" / config.data.dataset)
    pinned = extract.pin(own.source_url, queries, config.data, AS_OF)
    params.write_pin(own.folder / "params.yaml", pinned.as_of, pinned.fingerprint)
    place.deploy(own, say)
    before = _lean_seconds(own)
    run, tasks = _retrain(own, config.model)
    after = _lean_seconds(own)
    stages = [task for task in tasks if any(tag.startswith("pool:") for tag in task["tags"])]
    own_tasks = [task for task in tasks if task not in stages]
    whole, inside = run["total_run_time"], _seconds_in_stages_alone(stages, own_tasks)
    say(f"retraining of {pinned.rows:,} rows: {whole:.1f} s, of which its {len(stages)} stages alone {inside:.1f} s")
    say(f"lean script of the same work: {before:.1f} s before it and {after:.1f} s after it")
    _say_where_time_goes(own, stages, say)
    handovers = sum(OWN_POOL not in task["tags"] for task in stages)
    budget = ORCHESTRATION_S + HANDOVER_S * handovers
    return [
        Figure(f"retraining of {pinned.rows:,} rows / lean script", whole * 2 / (before + after), LEAN_GOAL),
        Figure(f"retraining, flow minus stages / {budget} s, {handovers} hand-overs", (whole - inside) / budget, 1.0),
    ]


def _lean_seconds(own: Settings) -> float:
    url = own.source_url.replace("postgresql+psycopg://", "postgresql://", 1)
    began = time.perf_counter()
    place.output([sys.executable, str(LEAN), "params.yaml", ".evergreen/lean"], own, given=url)
    return time.perf_counter() - began


def _retrain(own: Settings, model: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The flow run and its task runs, as Prefect tells of them."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", f"retrain/{model}", "-p", f"as_of={AS_OF}", "--watch"]
    run_id = place.output(command, own).split("UUID: ")[1].split()[0]
    run = _ask(own, "get", f"flow_runs/{run_id}")
    found = {"flow_runs": {"id": {"any_": [run_id]}}, "sort": "EXPECTED_START_TIME_ASC", "limit": 200}
    return run, _ask(own, "post", "task_runs/filter", found)


def _seconds_in_stages_alone(stages: list[dict[str, Any]], others: list[dict[str, Any]]) -> float:
    """How long some stage ran and none of the flow's own tasks did: a stage that runs beside them hides none of theirs."""
    changes = [(datetime.fromisoformat(task[end]), kind, step) for kind, tasks in (("stage", stages), ("own", others))
               for task in tasks for end, step in (("start_time", 1), ("end_time", -1))]  # fmt: skip
    changes.sort()
    running, found = {"stage": 0, "own": 0}, 0.0
    for (now, kind, step), (then, *_) in itertools.pairwise(changes):
        running[kind] += step
        if running["stage"] and not running["own"]:
            found += (then - now).total_seconds()
    return found


def _say_where_time_goes(own: Settings, stages: list[dict[str, Any]], say: Callable[[str], None]) -> None:
    """A row a stage; what its own clock did not see, which is DVC's, in the last column."""
    say(f"\n{'stage':<18} {'import':>7} {'read':>7} {'work':>7} {'write':>7} {'other':>7}   (seconds)")
    for task in stages:
        times = _times(own, task["id"])
        cells = "".join(f" {times[name]:>7.1f}" for name in ("start", "read", "work", "write"))
        say(f"{task['name']:<18}{cells} {task['total_run_time'] - sum(times.values()):>7.1f}")
    say("")


def _times(own: Settings, task: str) -> dict[str, float]:
    """Seconds by phase, as the stage's last line says; Prefect has the log a moment after the run."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        lines = _ask(own, "post", "logs/filter", {"logs": {"task_run_id": {"any_": [task]}}, "limit": 200})
        for line in lines:
            if line["message"].startswith(TIMES):
                return {name: float(spent) for name, spent in re.findall(r"(\w+) ([\d.]+) s", line["message"])}
        time.sleep(0.5)
    raise EvergreenError(f"A stage did not say where its time went (task run {task}): was it restored, and not run?")


def _ask(own: Settings, method: str, path: str, body: Any = None) -> Any:
    answer = pools.ask(method, f"{own.prefect_api_url}/{path}", json=body, auth=own.prefect_auth)
    if answer is None or not answer.is_success:
        raise EvergreenError(f"Prefect at {own.prefect_api_url} did not answer {path}: {answer and answer.text[:500]}")
    return answer.json()
