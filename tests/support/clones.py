"""Clones of this project as a person has them: a folder with git, a `.env` and no exported variable."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from ruamel.yaml import YAML

from flows.execution import dvc, workspace
from flows.execution.workspace import git
from infra.stack import deployments
from pipelines.config import params
from pipelines.config.setting_names import NAMES
from pipelines.config.settings import Settings

REPOSITORY = Path(__file__).parents[2]
FOREIGN = (*NAMES, "PREFECT_", "MLFLOW_", "EVERGREEN_", "PYTHONPATH", "PYTEST_", "GIT_", "DVC_")
FINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
Found = TypeVar("Found")


def wait_for(look: Callable[[], Found], seconds: float, what: str) -> Found:
    """What `look` gives as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL to each, whichever of them still live: a child may end with its parent that was killed before it."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def bare_environment() -> dict[str, str]:
    """What a new shell has, with the virtual environment activated."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"}


@dataclass(frozen=True)
class Clone:
    """A clone and what is done in it."""

    folder: Path

    @classmethod
    def make(cls, folder: Path, env_file: str, changes: Mapping[str, Any] | None = None, base: str = "params.yaml") -> Clone:
        """A clone of the work tree as it is, uncommitted files included.

        Args:
            env_file: content of its `.env`.
            changes: of params.yaml, by dotted key.
            base: the file that becomes its params.yaml.
        """
        listed = git(REPOSITORY, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
        for name in filter(None, listed):
            if (REPOSITORY / name).is_file():  # one that was deleted, and that nobody has committed yet, is listed too
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, folder / name)
        shutil.copy2(REPOSITORY / base, folder / "params.yaml")
        (folder / ".env").write_text(env_file)
        clone = cls(folder)
        clone.set_params(changes or {})
        git(folder, "init", "--quiet", "--initial-branch=main")
        clone.commit("The project as it is")
        workspace.configure_dvc(folder, clone.settings)
        return clone

    @property
    def settings(self) -> Settings:
        return Settings.load_from(self.folder, {})

    @property
    def params(self) -> params.Params:
        return params.read(self.folder / "params.yaml")

    @property
    def model(self) -> str:
        return self.params.model

    def set_params(self, changes: Mapping[str, Any]) -> None:
        """Change values of params.yaml by dotted key."""
        yaml = YAML()
        yaml.preserve_quotes, yaml.width = True, 1000
        values = yaml.load(self.folder / "params.yaml")
        for key, value in changes.items():
            *sections, last = key.split(".")
            section = values
            for name in sections:
                section = section[name]
            section[last] = value
        yaml.dump(values, self.folder / "params.yaml")

    def commit(self, message: str) -> str:
        git(self.folder, "add", "--all")
        git(self.folder, "commit", "--quiet", "--no-verify", "--message", message)
        return git(self.folder, "rev-parse", "HEAD")

    def deploy(self, *, take_over: bool = False) -> None:
        deployments.deploy(self.settings, self.model, print, take_over=take_over)

    def run(self, *command: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """A command in the clone, in a shell without exported variables but `variables`; stderr is in stdout."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=bare_environment() | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=800,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done

    def evergreen(self, *command: str, check: bool = True) -> str:
        """What `evergreen ...` prints; as a module, so that a borrowed environment runs this clone's code."""
        return self.run("python", "-m", "cli.app", *command, check=check).stdout

    def retrain(self, *, succeeds: bool | None = True, **values: str) -> FlowRun:
        """`prefect deployment run 'retrain/<model>' --watch`, and the run that it was."""
        pairs = [word for name, value in values.items() for word in ("-p", f"{name}={value}")]
        done = self.run("prefect", "deployment", "run", f"retrain/{self.model}", *pairs, "--watch", check=False)
        assert succeeds is None or (done.returncode == 0) == succeeds, done.stdout[-6000:]
        return self.newest_run()

    def begin(self, **values: Any) -> FlowRun:
        """Have a retraining run, and do not wait for it."""
        api = self.settings.prefect_api_url
        deployment = ask("get", f"{api}/deployments/name/retrain/{self.model}")
        made = ask("post", f"{api}/deployments/{deployment['id']}/create_flow_run", {"parameters": values})
        return FlowRun(api, made["id"])

    def newest_run(self) -> FlowRun:
        api = self.settings.prefect_api_url
        deployment = ask("get", f"{api}/deployments/name/retrain/{self.model}")
        wanted = {"deployments": {"id": {"any_": [deployment["id"]]}}, "sort": "EXPECTED_START_TIME_DESC", "limit": 1}
        return FlowRun(api, ask("post", f"{api}/flow_runs/filter", wanted)[0]["id"])

    def lock(self, ref: str | None = None) -> dict[str, dict[str, str]]:
        """Stage -> output -> md5, of the dvc.lock that lies here or at `ref`."""
        text = git(self.folder, "show", f"{ref}:dvc.lock") if ref else (self.folder / "dvc.lock").read_text()
        stages = YAML(typ="safe").load(text)["stages"]
        return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in stages.items()}


@dataclass(frozen=True)
class FlowRun:
    """A flow run as Prefect tells of it."""

    api: str
    id: str

    @property
    def ref(self) -> str:
        return f"refs/evergreen/runs/{self.id}"

    @property
    def state(self) -> dict[str, Any]:
        """With type, name and message."""
        return ask("get", f"{self.api}/flow_runs/{self.id}")["state"]

    def tasks(self) -> dict[str, dict[str, Any]]:
        """Name -> task run, in the order they started."""
        found = ask("post", f"{self.api}/task_runs/filter", {"flow_runs": {"id": {"any_": [self.id]}}, "limit": 200})
        started = sorted((one for one in found if one["start_time"]), key=lambda one: one["start_time"])
        return {one["name"]: one for one in started}

    def log(self, task: str | None = None) -> str:
        """Everything it logged, or one of its tasks did."""
        wanted = {"task_run_id": {"any_": [self.tasks()[task]["id"]]}} if task else {"flow_run_id": {"any_": [self.id]}}
        lines: list[str] = []
        while page := ask("post", f"{self.api}/logs/filter", {"logs": wanted, "limit": 200, "offset": len(lines)}):
            lines += [line["message"] for line in page]
        return "\n".join(lines)

    def executed(self) -> set[str]:
        """Stages that had to run here: the others were restored."""
        return {name for name in self.tasks() if f"Running stage '{name}'" in self.log(name)}

    def artifacts(self) -> list[dict[str, Any]]:
        return ask("post", f"{self.api}/artifacts/filter", {"flow_runs": {"id": {"any_": [self.id]}}, "limit": 200})

    def wait(self, seconds: float = 600) -> dict[str, Any]:
        """The state it ends in."""
        return wait_for(lambda: self.state if self.state["type"] in FINAL else None, seconds, f"the end of run {self.id}")

    def wait_for_stage(self, name: str, seconds: float = 300) -> None:
        """Until the stage's process has been started."""

        def runs() -> bool:
            state = self.state
            assert state["type"] not in FINAL, f"the run is {state['name']}: {state['message']}"
            return name in self.tasks() and f"Running stage '{name}'" in self.log(name)

        wait_for(runs, seconds, f"stage {name} running")


def ask(method: str, url: str, body: Any = None) -> Any:
    """Prefect's answer."""
    answer = httpx.request(method, url, json=body, timeout=30, trust_env=False)
    assert answer.is_success, f"{method} {url}: {answer.status_code} {answer.text[:500]}"
    return answer.json() if answer.content else None


def run_stages(clone: Clone, folder: Path) -> list[str]:
    """Run the DAG in a workspace of the clone as the flow does; names of the stages that had to run."""
    with dvc.runner(folder, bare_environment() | clone.settings.environment()) as runner:
        return [stage.name for stage in runner.stages if runner.run(stage.name, print)]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
