"""Put a clone's flows up as Prefect deployments, through infra/prefect.yaml and infra/prefect-image.yaml."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from flows import notifications, ownership
from flows.execution.workspace import git
from infra.stack import pools
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

MODEL = "{{ $EVERGREEN_MODEL }}"


def deploy(settings: Settings, model: str, say: Callable[[str], None], *, take_over: bool = False) -> None:
    """Create or update the deployments of this machine's pools at the clone's current commit, and the model's automations.

    With both pools those are `retrain`, `score`, `monitor`, `backfill` and `promote`, each `/<model>`, and `stage/cpu` and
    `stage/gpu`. A pool of another machine is that machine's to deploy: its clone is at a path of its own. Whoever deploys
    the model's own flows also decides who is told of them. Another clone's are left alone (flows/ownership.py).

    Args:
        take_over: another clone's become this one's.

    Raises:
        EvergreenError: there is no such pool or notification block, the deployments are another clone's, or Prefect does not
            take them; with its words.
    """
    blocks = notifications.find_blocks(settings)  # before anything is changed
    pools.make(settings)
    content = _content(settings)
    names = [name.replace(MODEL, model) for name in _names(content)]
    others = ownership.others(settings, names)
    left = [] if take_over else ownership.left_to_others(names, others)
    for name in others:
        say(f"{name} {'stays with' if name in left else 'is taken over from'} {others[name]}")
    commit = git(settings.folder, "rev-parse", "HEAD")
    variables = os.environ | {
        "EVERGREEN_CLONE": str(settings.folder),
        "EVERGREEN_COMMIT": commit,
        "EVERGREEN_IMAGE": settings.image,
        "EVERGREEN_MODEL": model,
        "EVERGREEN_PYTHON": shlex.quote(sys.executable),
        "PREFECT_API_URL": settings.prefect_api_url,
        "DO_NOT_TRACK": "1",
        **settings.credentials(),
    }
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "prefect.yaml"
        names = _write(content, model, file, ownership.of(settings), left)
        command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
        done = subprocess.run(command, cwd=settings.folder, env=variables, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise EvergreenError(f"Prefect did not take the deployments. Is it up (`evergreen status`)? It said:\n{last}")
    say(f"deployed {', '.join(names)} at {commit[:12]}")
    if model_names := [name for name in names if not name.startswith(ownership.SHARED)]:
        notifications.put_up(settings, model, blocks, model_names)
        if blocks:
            say(f"decisions about {model} and failures go to {', '.join(blocks)}")


def _content(settings: Settings) -> Any:
    """The deployments of this machine's pools: by prefect-image.yaml of those that run images, else by prefect.yaml."""
    of_images = [pool for pool in settings.pools if pools.type_of(settings, pool) not in {"", "process"}]
    if of_images and not settings.image:
        raise EvergreenError(f"The work pool {', '.join(of_images)} runs images: name yours as EVERGREEN_IMAGE in .env.")
    folder = settings.folder / "infra"
    content = _of_pools(folder / "prefect.yaml", [pool for pool in settings.pools if pool not in of_images])
    if of_images:
        images = _of_pools(folder / "prefect-image.yaml", of_images)
        content["deployments"] += [deployment | {"pull": images["pull"]} for deployment in images["deployments"]]
    return content


def _of_pools(template: Path, pools: Collection[str]) -> Any:
    """The template with the deployments whose pool is among these."""
    from ruamel.yaml import YAML

    content = YAML().load(template)
    named = {deployment["work_pool"]["name"] for deployment in content["deployments"]}
    if unknown := sorted(set(pools) - named):
        raise EvergreenError(f"EVERGREEN_POOLS in .env names {', '.join(unknown)}; {template} has {', '.join(sorted(named))}.")
    content["deployments"] = [deployment for deployment in content["deployments"] if deployment["work_pool"]["name"] in pools]
    return content


def _names(content: Any) -> list[str]:
    return [f"{deployment['entrypoint'].partition(':')[2]}/{deployment['name']}" for deployment in content["deployments"]]


def _write(content: Any, model: str, file: Path, owner: ownership.Owner, left: Collection[str]) -> list[str]:
    """The deployments but those that are left to others, each with whose it is; returns their names."""
    from ruamel.yaml import YAML

    chosen = []
    for deployment, name in zip(content["deployments"], _names(content), strict=True):
        if (shown := name.replace(MODEL, model)) not in left:
            deployment["tags"] = ownership.tags("any" if shown.startswith(ownership.SHARED) else model, owner)
            chosen.append(deployment)
    content["deployments"] = chosen
    YAML().dump(content, file)
    return [name.replace(MODEL, model) for name in _names(content)]
