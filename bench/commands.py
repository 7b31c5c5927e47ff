"""Commands that people wait for: `dvc repro` with nothing to do, and what the CLI imports."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import place
from bench.figure import Figure
from flows import manual
from flows.execution import workspace
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

ROUNDS = 3
REPRO_ROUNDS = 9  # the machine's pace changes by a third from one second to the next
REPRO_GOAL, IMPORT_S = 1.5, 0.5
DVC = (sys.executable, "-m", "dvc")
FAST = (["status"], ["model", "history"], ["data", "pin", "--help"])


def measure(own: Settings, say: Callable[[str], None]) -> list[Figure]:
    """To be called when the clone's stack has made a first version."""
    return [repro(own, say), *(imports(own, command, say) for command in FAST)]


def repro(own: Settings, say: Callable[[str], None]) -> Figure:
    """`dvc repro` here, where everything is up to date, against bare DVC on the same graph, in turn.

    What is ours beyond that graph: the modules that a stage imports, as its dependencies; the length of params.yaml, which DVC
    reads for every stage; folders where a file would do; the clone around it.
    """
    manual.checkout(own, 1, force=True)
    bare = replace(own, folder=own.folder.parent / "bare")
    _make_bare(bare, _same_graph(_locked_stages(own)))
    pairs = [(_idle_seconds(bare), _idle_seconds(own)) for _ in range(REPRO_ROUNDS)]
    for theirs, ours in pairs:
        say(f"dvc repro with nothing to do: {ours:.2f} s, bare DVC on the same graph {theirs:.2f} s")
    ratio = median(ours / theirs for theirs, ours in pairs)
    return Figure("dvc repro, nothing to do / bare DVC on the same graph", ratio, REPRO_GOAL)


def imports(own: Settings, command: list[str], say: Callable[[str], None]) -> Figure:
    """What importing takes in a run of the command, all modules of the interpreter's among them."""
    name, runs = f"evergreen {' '.join(command)}", []
    for _ in range(ROUNDS):
        told = place.output([sys.executable, "-X", "importtime", "-m", "cli.app", *command], own)
        runs.append(_seconds_told(told))
    say(f"imports of `{name}`: " + ", ".join(f"{seconds:.2f} s" for seconds in runs))
    return Figure(f"imports of `{name}` / {IMPORT_S} s", median(runs) / IMPORT_S, 1.0)


def _seconds_told(told: str) -> float:
    """The sum of what -X importtime says of each module itself, in microseconds."""
    lines = [line.removeprefix("import time:").split("|") for line in told.splitlines() if line.startswith("import time:")]
    return sum(int(line[0]) for line in lines if line[0].strip().isdigit()) / 1e6


def _idle_seconds(place_of: Settings) -> float:
    began = time.perf_counter()
    said = place.output([*DVC, "repro"], place_of)
    seconds = time.perf_counter() - began
    if "up to date" not in said:
        raise EvergreenError(f"`dvc repro` in {place_of.folder} had something to do:\n{said[-2000:]}")
    return seconds


def _locked_stages(own: Settings) -> dict[str, Any]:
    """What dvc.lock says of the stages that dvc.yaml has: it keeps those of candidates that are no longer enabled."""
    from ruamel.yaml import YAML

    locked = YAML(typ="safe").load(own.folder / "dvc.lock")["stages"]
    return {name: locked[name] for name in place.output([*DVC, "stage", "list", "--name-only"], own).split()}


def _same_graph(ours: dict[str, Any]) -> dict[str, Any]:
    """Every stage with a script, a parameter, what it reads of the other stages and what it makes, as a dvc.yaml has them."""
    made = [Path(out["path"]) for stage in ours.values() for out in stage["outs"]]
    graph = {}
    for name, stage in ours.items():
        plain, outs = name.replace("@", "-"), [out["path"] for out in stage["outs"]]
        read = [dep["path"] for dep in stage["deps"] if any(out.is_relative_to(dep["path"]) for out in made)]
        graph[plain] = {
            "cmd": " && ".join(f"mkdir -p {Path(out).parent} && echo {out} > {out}" for out in outs),
            "deps": [f"{plain}.py", *read],
            "params": [plain],
            "outs": outs,
        }
    return graph


def _make_bare(bare: Settings, stages: dict[str, Any]) -> None:
    """A project of these stages in a new folder, everything in it up to date."""
    from ruamel.yaml import YAML

    bare.folder.mkdir()
    workspace.git(bare.folder, "init", "--quiet")
    YAML().dump({"stages": stages}, bare.folder / "dvc.yaml")
    YAML().dump({name: {"seed": 1} for name in stages}, bare.folder / "params.yaml")
    for name in stages:
        (bare.folder / f"{name}.py").write_text("pass\n", encoding="utf-8")
    for arguments in (["init"], ["config", "core.site_cache_dir", str(bare.folder / ".site")], ["repro"]):
        place.output([*DVC, *arguments, "--quiet"], bare)
