"""Put a clone's flows up as Prefect deployments, through infra/prefect.yaml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from flows import notifications
from flows.workspace import git
from pipelines.errors import EvergreenError
from pipelines.settings import Settings

MODEL = "{{ $EVERGREEN_MODEL }}"


def deploy(settings: Settings, model: str, say: Callable[[str], None]) -> None:
    """Create or update the deployments of this machine's pools at the clone's current commit, and the model's automations.

    With both pools those are `retrain`, `score`, `monitor`, `backfill` and `promote`, each `/<model>`, and `stage/cpu` and
    `stage/gpu`. A pool of another machine is that machine's to deploy: its clone is at a path of its own. Whoever deploys
    the model's own flows also decides who is told of them.

    Raises:
        EvergreenError: there is no such pool or notification block, or Prefect does not take them; with its words.
    """
    blocks = notifications.find_blocks(settings)  # before anything is changed
    commit = git(settings.folder, "rev-parse", "HEAD")
    variables = os.environ | {
        "EVERGREEN_CLONE": str(settings.folder),
        "EVERGREEN_COMMIT": commit,
        "EVERGREEN_MODEL": model,
        "EVERGREEN_PYTHON": shlex.quote(sys.executable),
        "PREFECT_API_URL": settings.prefect_api_url,
        "DO_NOT_TRACK": "1",
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "prefect.yaml"
        names = _write_own(settings.folder / "infra" / "prefect.yaml", file, settings.pools)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, cwd=settings.folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise EvergreenError(f"Prefect did not take the deployments. Is it up (`evergreen status`)? It said:\n{last}")
    say(f"deployed {', '.join(names).replace(MODEL, model)} at {commit[:12]}")
    if own := [name.replace(MODEL, model) for name in names if name.endswith(MODEL)]:
        notifications.put_up(settings, model, blocks, own)
        if blocks:
            say(f"decisions about {model} and failures go to {', '.join(blocks)}")


def _write_own(template: Path, file: Path, pools: Collection[str]) -> list[str]:
    """The deployments whose pool is among these; returns their names."""
    from ruamel.yaml import YAML

    yaml = YAML()
    content = yaml.load(template)
    known = {one["work_pool"]["name"] for one in content["deployments"]}
    if unknown := sorted(set(pools) - known):
        raise EvergreenError(f"EVERGREEN_POOLS in .env names {', '.join(unknown)}; {template} has {', '.join(sorted(known))}.")
    content["deployments"] = [one for one in content["deployments"] if one["work_pool"]["name"] in pools]
    yaml.dump(content, file)
    return [f"{one['entrypoint'].partition(':')[2]}/{one['name']}" for one in content["deployments"]]
