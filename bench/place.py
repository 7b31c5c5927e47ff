"""Where the bench measures: a clone of the project as it lies, on a stack of its own, so that nothing is restored."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from flows.execution import workspace
from infra.stack import deployments, local
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.setting_names import NAMES
from pipelines.config.settings import Settings


@contextmanager
def own_stack(settings: Settings, say: Callable[[str], None]) -> Iterator[Settings]:
    """Settings of a clone in a temporary folder whose stack runs; nothing of either is left after the block."""
    with tempfile.TemporaryDirectory(prefix="evergreen-bench-") as scratch:
        folder = Path(scratch).resolve() / "clone"
        workspace.git(settings.folder, "clone", "--quiet", "--shared", "--no-checkout", str(settings.folder), str(folder))
        workspace.git(folder, "checkout", "--quiet", "-B", "bench", workspace.snapshot_commit(settings.folder))
        (folder / ".env").write_text(_env_file(folder), encoding="utf-8")
        _choose_candidates(folder / "params.yaml")
        own = Settings.load_from(folder, {})
        try:
            local.up(own, say)
            workspace.configure_dvc(folder, own)
            yield own
        finally:
            local.down(own, say)


def environment(own: Settings) -> dict[str, str]:
    """Variables for a process in the clone: nothing that the caller exported for a stack of theirs."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', os.defpath)}"
    quiet = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": str(own.folder)}
    return kept | quiet | own.environment() | {"PATH": path}


def deploy(own: Settings, say: Callable[[str], None]) -> None:
    """The clone's flows, at a commit of the files as they are now."""
    workspace.git(own.folder, "commit", "--quiet", "--all", "--no-verify", "--allow-empty", "--message", "As it is measured")
    deployments.deploy(own, params.read(own.folder / "params.yaml").model, say)


def output(command: list[str], own: Settings, *, given: str | None = None) -> str:
    """What a command in the clone prints, errors included.

    Raises:
        EvergreenError: it failed; with its last words.
    """
    done = subprocess.run(
        command,
        cwd=own.folder,
        env=environment(own),
        input=given or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EvergreenError(f"What was to be measured failed: {' '.join(command)}\n{done.stdout[-3000:]}")
    return done.stdout


def _env_file(folder: Path) -> str:
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(5)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        postgres, prefect, mlflow, site, api = (probe.getsockname()[1] for probe in probes)
    values = {
        "EVERGREEN_HOME": folder / ".evergreen",
        "EVERGREEN_POSTGRES_PORT": postgres,
        "PREFECT_API_URL": f"http://127.0.0.1:{prefect}/api",
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
        "EVERGREEN_SITE_URL": f"http://127.0.0.1:{site}",
        "EVERGREEN_API_URL": f"http://127.0.0.1:{api}",
    }
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _choose_candidates(path: Path) -> None:
    """What the lean script fits as well: two candidates with params.yaml's own values, nothing tuned."""
    from ruamel.yaml import YAML

    yaml = YAML()
    values = yaml.load(path)
    values["candidates"]["enabled"] = {"linear": "cpu", "lightgbm": "cpu"}
    if "tune" in values:
        values["tune"]["trials"] = 0
    yaml.dump(values, path)
