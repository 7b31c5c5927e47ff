"""Flow runs of a clone's deployments."""

from __future__ import annotations

import psutil

from infra.stack import processes
from pipelines.config.settings import Settings
from tests.support.clones import Clone, FlowRun, ask


def begin(clone: Clone, flow: str, **values: object) -> FlowRun:
    api = clone.settings.prefect_api_url
    deployment = ask("get", f"{api}/deployments/name/{flow}/{clone.model}")
    return FlowRun(api, ask("post", f"{api}/deployments/{deployment['id']}/create_flow_run", {"parameters": values})["id"])


def finished(run: FlowRun, seconds: float = 900) -> FlowRun:
    state = run.wait(seconds)
    assert state["type"] == "COMPLETED", f"{state['name']}: {state['message']}\n{run.log()[-4000:]}"
    return run


def run_score(clone: Clone, *, succeeds: bool = True, **values: str) -> FlowRun:
    pairs = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
    done = clone.run("prefect", "deployment", "run", f"score/{clone.model}", *pairs, "--watch", check=False)
    assert (done.returncode == 0) == succeeds, done.stdout[-6000:]
    api = clone.settings.prefect_api_url
    deployment = ask("get", f"{api}/deployments/name/score/{clone.model}")
    wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    return FlowRun(api, ask("post", f"{api}/flow_runs/filter", wanted)[0]["id"])


def works_on(process: psutil.Process, run: FlowRun) -> bool:
    """Whether a process is the flow's of this run or one of its stages'."""
    try:
        return process.environ().get("PREFECT__FLOW_RUN_ID") == run.id
    except psutil.Error:
        return False


def flow_of(settings: Settings, run: FlowRun) -> list[psutil.Process]:
    found = [one for one in processes.belonging_to(settings.home, ["cpu-1"]) if works_on(one, run)]
    return [one for one in found if "prefect.engine" in " ".join(one.cmdline())]
