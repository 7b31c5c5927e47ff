"""A stage of another pool on another machine: real workers that live, are busy, are away, are killed and come back late.

The project has four stages that take no time, of which `away` is the other pool's. Two clones stand for two machines:
they share the DVC remote and the addresses of the servers, and nothing else.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from flows.execution.remote import tag_of
from flows.execution.workspace import git
from infra.stack import supervisor_control
from pipelines.config.settings import Settings
from tests.support.clones import FINAL, Clone, FlowRun, ask, bare_environment, kill_all, wait_for

pytestmark = pytest.mark.long
BEAT_S = 2  # of the tests' workers: one that was not heard for four of them is gone
DVC_YAML = """
vars: [control.yaml]
stages:
  first:
    cmd: echo ${folder} > first.txt
    outs: [first.txt]
  away:
    meta: {pool: gpu}
    cmd: sh away.sh ${folder}
    deps: [first.txt, away.sh]
    outs: [away.txt]
  beside:
    cmd: sh beside.sh ${folder}
    deps: [first.txt, beside.sh]
    outs: [beside.txt]
  last:
    cmd: cat away.txt beside.txt > last.txt
    deps: [away.txt, beside.txt]
    outs: [last.txt]
"""
AWAY = """
home=$(basename "$EVERGREEN_HOME")
touch "$1/away-begun-$home"
while [ -e "$1/hold-away-$home" ]; do sleep 0.1; done
if [ -e "$1/away-fails" ]; then echo "ERROR: the device is on fire"; exit 1; fi
echo "$home" > away.txt
"""
BESIDE = """
touch "$1/beside-begun"
while [ -e "$1/hold-beside" ]; do sleep 0.1; done
if [ -e "$1/beside-fails" ]; then echo "ERROR: a column is missing"; exit 1; fi
echo beside > beside.txt
"""
FLOW = """
import json, os, sys
from dataclasses import asdict
from prefect import flow
from prefect.runtime import flow_run
from flows.execution import dvc, local, workspace
from flows.execution.remote import Policy
from pipelines.config.settings import load as load_settings

@flow(name="few-stages", persist_result=False)
def few_stages(without_worker: str, worker_deadline: float) -> None:
    here, ran = load_settings(), []
    print("RUN", flow_run.id, flush=True)
    place = workspace.create(here, flow_run.id, workspace.git(here.folder, "rev-parse", "HEAD"))
    try:
        environment = os.environ | here.environment()
        with dvc.runner(place.folder, environment) as runner:
            context = local.Context(runner, place, Policy(without_worker, worker_deadline))
            local.run_stages(context, here, runner.stages, ran)
            place.commit("Results", "params.yaml", "dvc.lock")
        print("LAST", json.dumps((place.folder / "last.txt").read_text()))
    finally:
        print("RAN", json.dumps([asdict(one) | {"text": one.text()} for one in ran]), flush=True)
        workspace.remove(place)

few_stages(sys.argv[1], float(sys.argv[2]))
"""
STAGE = """
import sys
from prefect import tags
from flows.run_stage import stage

with tags(sys.argv[3]):
    stage("away", sys.argv[1], sys.argv[2])
"""


@dataclass(frozen=True)
class Machines:
    """Two clones; `folder` is where the tests talk to the stages."""

    near: Clone
    far: Clone
    folder: Path

    @property
    def api(self) -> str:
        return self.near.settings.prefect_api_url

    @property
    def remote(self) -> Path:
        return Path(self.near.settings.dvc_remote)


@pytest.fixture(scope="module")
def machines(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    """Without the stack's own gpu worker."""
    folder = tmp_path_factory.mktemp("machines")
    near, far = make(stack, folder, "near"), make(stack, folder, "far")
    with supervisor_control.conversation(stack.home) as supervisor:
        supervisor.stopProcess("workers:gpu-1")
        forget_worker(stack, "gpu-1")
        near.deploy(take_over=True)  # stage/cpu and stage/gpu may be another clone's on this stack
        far.deploy(take_over=True)
        yield Machines(near, far, folder)
        supervisor.startProcess("workers:gpu-1")


def make(stack: Settings, folder: Path, name: str) -> Clone:
    env = (stack.folder / ".env").read_text()
    pools = {"near": "cpu", "far": "gpu"}[name]
    env += f"EVERGREEN_REPOSITORY='file://{folder / name}'\n"
    env += f"EVERGREEN_HOME='{folder / name}-home'\nEVERGREEN_DVC_REMOTE='{folder / 'remote'}'\nEVERGREEN_POOLS={pools}\n"
    (folder / f"{name}-home").mkdir()
    shutil.copy2(stack.home / "secrets.env", folder / f"{name}-home" / "secrets.env")
    clone = Clone.make(folder / name, env, {"model": "few"})
    (clone.folder / "dvc.yaml").write_text(DVC_YAML)
    (clone.folder / "away.sh").write_text(AWAY)
    (clone.folder / "beside.sh").write_text(BESIDE)
    (clone.folder / "control.yaml").write_text("folder: none\n")
    clone.commit("Four stages")
    return clone


def forget_worker(settings: Settings, name: str) -> None:
    """What a person does with a machine that left for good."""
    httpx.delete(f"{settings.prefect_api_url}/work_pools/gpu/workers/{name}", trust_env=False)


@dataclass
class Retraining:
    """A run of all stages in the near clone, in a process of its own."""

    machines: Machines
    process: subprocess.Popen[str]
    said: Path

    @property
    def run(self) -> FlowRun:
        found = wait_for(lambda: [line for line in self.lines if line.startswith("RUN ")], 60, f"a run: {self.said}")
        return FlowRun(self.machines.api, found[0].split()[1])

    @property
    def lines(self) -> list[str]:
        return self.said.read_text().splitlines()

    @property
    def children(self) -> list[FlowRun]:
        """Its runs of `stage`, oldest first."""
        wanted = {"flow_runs": {"tags": {"all_": [tag_of(self.run.id)]}}, "sort": "EXPECTED_START_TIME_ASC"}
        found = ask("post", f"{self.machines.api}/flow_runs/filter", wanted)
        return [FlowRun(self.machines.api, one["id"]) for one in found]

    def states(self) -> list[str]:
        return [child.state["name"] for child in self.children]

    def end(self, *, succeeds: bool = True) -> dict[str, dict]:
        """Wait for its end; stage -> where it ran."""
        status = self.process.wait(timeout=180)
        assert (status == 0) == succeeds, self.said.read_text()[-5000:]
        rows = json.loads(next(line for line in self.lines if line.startswith("RAN "))[4:])
        return {row["stage"]: row for row in rows}

    def last(self) -> str:
        """The content of the last stage's output: which machine's result was used."""
        return json.loads(next(line for line in self.lines if line.startswith("LAST "))[5:]).split()[0]


@dataclass(frozen=True)
class Control:
    """Holds stages, lets them go, and begins retrainings whose results nobody knows yet."""

    machines: Machines
    folder: Path
    started: list[Retraining]

    def hold(self, what: str) -> None:
        (self.folder / f"hold-{what}").touch()

    def release(self, what: str) -> None:
        (self.folder / f"hold-{what}").unlink()

    def wait_for(self, what: str, seconds: float = 90) -> None:
        wait_for((self.folder / what).exists, seconds, what)

    def begin(self, without_worker: str, deadline: float) -> Retraining:
        near = self.machines.near
        number = len(self.started)
        said = self.folder / f"said-{number}.txt"
        with said.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", FLOW, without_worker, str(deadline)],
                cwd=near.folder,
                env=bare_environment() | {"PREFECT_API_URL": self.machines.api, "PYTHONPATH": str(near.folder)},
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self.started.append(Retraining(self.machines, process, said))
        return self.started[-1]


@pytest.fixture
def control(machines: Machines, tmp_path: Path) -> Iterator[Control]:
    (machines.near.folder / "control.yaml").write_text(f"folder: {tmp_path}\n")
    machines.near.commit("Results that nobody knows yet")
    made = Control(machines, tmp_path, [])
    yield made
    for file in tmp_path.glob("hold-*"):
        file.unlink()
    for retraining in made.started:  # a test that failed must not hold the pool's one slot
        retraining.process.kill()
        retraining.process.wait()
        for child in [child for child in retraining.children if child.state["type"] not in FINAL]:
            left = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
            ask("post", f"{machines.api}/flow_runs/{child.id}/set_state", left)


@contextmanager
def worker(machines: Machines, name: str = "far-1") -> Iterator[psutil.Process]:
    """A worker on the far machine, as a person starts it. What it started ends with it."""
    settings = machines.far.settings
    with (machines.folder / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "prefect",
                "worker",
                "start",
                "--pool",
                "gpu",
                "--type",
                "process",
                "--name",
                name,
                "--limit",
                "1",
            ],
            cwd=machines.far.folder,
            env=bare_environment()
            | {
                "PREFECT_API_URL": settings.prefect_api_url,
                "PREFECT_HOME": str(machines.folder / "prefect"),
                "PREFECT_WORKER_HEARTBEAT_SECONDS": str(BEAT_S),
                "PREFECT_WORKER_QUERY_SECONDS": "1",
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        for one in family_of(machines, process.pid):
            with suppress(psutil.Error):
                one.send_signal(signal.SIGCONT)
                one.kill()
        process.kill()
        process.wait()
        forget_worker(settings, name)


def family_of(machines: Machines, pid: int | None = None) -> list[psutil.Process]:
    """A worker's process and what it started; what a killed worker left has its flow run's id in its environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            environ = process.environ()
            is_far = environ.get("EVERGREEN_HOME") == str(machines.far.settings.home)
            own = process.pid == pid or environ.get("PYTHONPATH") == str(machines.far.folder) or is_far
            if own and process.pid != psutil.Process().pid:
                found.append(process)
    return found


def until_gone(machines: Machines) -> None:
    """Until no process of a stage or its flow is left over there."""
    deadline = time.monotonic() + 30
    while left := [words for words in map(words_of, family_of(machines)) if words and "worker start" not in words]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.2)


def words_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def until_final(look: Callable[[], list[str]], seconds: float = 30) -> list[str]:
    """States of runs once all have ended."""
    names = {state.capitalize() for state in FINAL}
    return wait_for(lambda: (found := look()) and set(found) <= names and found, seconds, "all runs ended")


# nobody is there


def test_without_a_worker_it_runs_here_after_the_deadline_and_never_there(machines: Machines, control: Control) -> None:
    retraining = control.begin("cpu", 3)
    ran = retraining.end()
    assert ran["away"]["text"] == "cpu: no worker in pool gpu within 3 s"
    assert retraining.last() == "near-home"
    assert retraining.states() == ["Cancelled"]
    with worker(machines):  # back too late
        assert control.begin("wait", 60).end()["away"]["ran_on"] == "restored"
        time.sleep(8)
        assert retraining.states() == ["Cancelled"]
    assert not (control.folder / "away-begun-far-home").exists()


def test_without_a_worker_it_fails_clearly_if_asked_to(control: Control) -> None:
    retraining = control.begin("fail", 3)
    ran = retraining.end(succeeds=False)
    said = retraining.run.state["message"]
    assert "Stage away was not done: no worker in pool gpu within 3 s. Start a worker there" in said
    assert "last" not in ran
    assert retraining.states() == ["Cancelled"]


def test_it_waits_for_a_worker_if_asked_to_and_says_so(machines: Machines, control: Control) -> None:
    retraining = control.begin("wait", 2)
    waiting = "Stage away waits on, as without_worker=wait says: no worker in pool gpu within 2 s."
    wait_for(lambda: retraining.said.read_text().count(waiting) >= 2, 90, "two deadlines")
    with worker(machines):
        ran = retraining.end()
    assert ran["away"]["text"] == "gpu (worker far-1)"
    assert retraining.last() == "far-home"
    assert retraining.states() == ["Completed"]


# somebody is there


def test_our_stages_go_on_meanwhile_and_a_second_retraining_waits_for_the_device(machines: Machines, control: Control) -> None:
    control.hold("away-far-home")
    control.hold("beside")
    with worker(machines):
        first = control.begin("wait", 600)
        control.wait_for("away-begun-far-home")
        control.wait_for("beside-begun")  # while the other is held: both run
        control.release("beside")
        wait_for(lambda: first.run.tasks()["beside"]["state_type"] == "COMPLETED", 60, "beside, whatever away does")
        assert "last" not in first.run.tasks()
        second = control.begin("fail", 8)
        second.end(succeeds=False)
        assert "no free worker in pool gpu, where far-1 (stage-away) lives, within 8 s" in second.run.state["message"]
        third = control.begin("wait", 600)
        wait_for(lambda: third.run and third.children, 60, "the third handed over")
        time.sleep(4)
        assert first.states() == ["Running"]
        assert third.states()[0] in {"Scheduled", "Late"}
        control.release("away-far-home")
        assert first.end()["away"]["text"] == "gpu (worker far-1)"
        assert third.end()["away"]["ran_on"] == "gpu"
    assert first.last() == third.last() == "far-home"


# somebody goes away


def test_a_machine_that_loses_power_is_noticed_and_another_does_it(machines: Machines, control: Control) -> None:
    control.hold("away-far-home")
    with worker(machines, "far-1") as lost:
        retraining = control.begin("wait", 600)
        control.wait_for("away-begun-far-home")
        kill_all(family_of(machines, lost.pid))
        control.release("away-far-home")
        with worker(machines, "far-2"):
            ran = retraining.end()
    assert ran["away"]["worker"] == "far-2"
    assert "again: worker far-1, which had begun it, was last heard" in ran["away"]["why"]
    assert retraining.states() == ["Cancelled", "Completed"]


def test_a_stage_that_outlives_its_worker_ends_and_our_result_is_used(machines: Machines, control: Control) -> None:
    control.hold("away-far-home")
    with worker(machines) as killed:
        retraining = control.begin("cpu", 3)
        control.wait_for("away-begun-far-home")
        killed.kill()
        forget_worker(machines.far.settings, "far-1")  # by a person who knows; else by its silence, as above
        ran = retraining.end()
        assert ran["away"]["text"] == "cpu: no worker in pool gpu within 3 s"
        assert retraining.last() == "near-home"
        until_gone(machines)
        first, again = until_final(retraining.states)
        assert (first in {"Cancelled", "Crashed"}, again) == (True, "Cancelled")  # it may fail to log: nobody reads that


@pytest.mark.parametrize("with_worker", [True, False], ids=["with its worker", "without its worker"])
def test_a_stage_that_slept_comes_back_late_and_pushes_nothing(machines: Machines, control: Control, with_worker: bool) -> None:
    control.hold("away-far-home")
    with worker(machines) as sleeping:
        retraining = control.begin("cpu", 3)
        control.wait_for("away-begun-far-home")
        if not with_worker:
            sleeping.kill()
        family = family_of(machines, sleeping.pid if with_worker else None)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.suspend()
        control.release("away-far-home")  # it would be done at once
        retraining.end()
        assert retraining.last() == "near-home"
        there = files(machines.remote)
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
        until_gone(machines)
        first, again = until_final(retraining.states)
        assert (first in {"Cancelled", "Crashed"}, again) == (True, "Cancelled")  # it may fail to log: nobody reads that
    assert files(machines.remote) == there


def test_a_stage_that_nobody_waits_for_any_more_pushes_nothing(machines: Machines, control: Control) -> None:
    control.hold("away-far-home")
    near, far, tag = machines.near, machines.far, uuid.uuid4().hex
    git(near.folder, "update-ref", f"refs/evergreen/runs/{tag}", "HEAD")
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE, near.settings.repository, f"refs/evergreen/runs/{tag}", tag],
        cwd=far.folder,
        env=bare_environment() | {"PREFECT_API_URL": machines.api, "PYTHONPATH": str(far.folder)},
    )
    try:
        control.wait_for("away-begun-far-home")
        (run,) = ask("post", f"{machines.api}/flow_runs/filter", {"flow_runs": {"tags": {"all_": [tag]}}})
        cancelled = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
        ask("post", f"{machines.api}/flow_runs/{run['id']}/set_state", cancelled)
        there = files(machines.remote)
        control.release("away-far-home")
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert FlowRun(machines.api, run["id"]).state["name"] == "Cancelled"
    assert files(machines.remote) == there


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


# red on one side


def test_red_here_ends_what_was_handed_over(machines: Machines, control: Control) -> None:
    control.hold("away-far-home")
    control.hold("beside")
    (control.folder / "beside-fails").touch()
    with worker(machines):
        retraining = control.begin("cpu", 600)
        control.wait_for("away-begun-far-home")
        control.release("beside")
        retraining.end(succeeds=False)
        assert "a column is missing" in retraining.run.state["message"]
        until_gone(machines)
        assert until_final(retraining.states) == ["Cancelled"]


def test_red_there_ends_what_runs_here(machines: Machines, control: Control) -> None:
    control.hold("beside")
    (control.folder / "away-fails").touch()
    with worker(machines):
        retraining = control.begin("cpu", 600)
        retraining.end(succeeds=False)
    said = retraining.run.state["message"]
    assert "Stage away on pool gpu (worker far-1) is Failed" in said
    assert "the device is on fire" in said
    assert retraining.states() == ["Failed"]
    assert {one["state_type"] for one in retraining.run.tasks().values()} <= FINAL
