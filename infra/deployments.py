"""Put a clone's flows up as Prefect deployments, through infra/prefect.yaml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable

from flows.workspace import git
from pipelines.errors import EvergreenError
from pipelines.settings import Settings


def deploy(settings: Settings, model: str, say: Callable[[str], None]) -> None:
    """Create or update `retrain/<model>`, `stage/cpu` and `stage/gpu`, at the clone's current commit.

    Raises:
        EvergreenError: Prefect does not take them; with its words.
    """
    commit = git(settings.folder, "rev-parse", "HEAD")
    variables = os.environ | {
        "EVERGREEN_CLONE": str(settings.folder),
        "EVERGREEN_COMMIT": commit,
        "EVERGREEN_MODEL": model,
        "EVERGREEN_PYTHON": shlex.quote(sys.executable),
        "PREFECT_API_URL": settings.prefect_api_url,
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect.yaml"]
    done = subprocess.run(command, cwd=settings.folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise EvergreenError(f"Prefect did not take the deployments. Is it up (`evergreen status`)? It said:\n{last}")
    say(f"deployed retrain/{model}, stage/cpu and stage/gpu at {commit[:12]}")
