"""DVC's graph, and its stages run one at a time.

DVC works in the flow's own process: it knows the graph, what changed, what can be restored, and records results. The `cmd` of
a stage is a plain process in a group of its own, and what it prints is the stage's log.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.config.errors import EvergreenError
from pipelines.config.stage import TRANSIENT

Log = Callable[[str], None]
# The flow holds the other end of stdin. When that is closed, also by a SIGKILL of the flow, the watcher in the background kills
# the process group: itself, the command, and what the command started. It is there before the command is.
GROUP = """
exec 3<&0 </dev/null
{ read -r line <&3; kill -9 0; } >/dev/null 2>&1 &
exec 3<&-
/bin/sh -c "$1"
"""


@dataclass(frozen=True)
class Stage:
    """A node of dvc.yaml."""

    name: str
    pool: str
    retries: int
    needs: tuple[str, ...] = ()  # stages whose outputs it reads


class StageError(EvergreenError):
    """A stage failed. Its text is what the stage printed last."""


class TransientStageError(StageError):
    """A stage met a database that may be back in a minute."""


class Runner:
    """Runs the stages of one workspace, one command at a time: threads that share it take turns."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
        self._folder, self._environment = folder, environment | {"PATH": path}
        self._command_turn, self._repo_turn = threading.Lock(), threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._is_ended = False

    @cached_property
    def stages(self) -> list[Stage]:
        """Every stage of dvc.yaml, each after those it depends on. An internal API of DVC's: pinned, and tested.

        Raises:
            StageError: DVC does not read this project.
        """
        import networkx

        with self._dvc("DVC does not read this project") as repo:
            graph = repo.index.graph
            nodes = networkx.lexicographical_topological_sort(graph.reverse(), key=lambda node: node.name)
            return [_stage(node, needs=sorted(need.name for need in graph.successors(node))) for node in nodes]

    def run(self, name: str, log: Log, *, pull: bool = False) -> bool:
        """Run a stage unless its results are known; returns whether it had to run.

        Args:
            pull: look for results in the DVC remote as well.

        Raises:
            TransientStageError: the stage says that running it again can help, or the remote is away.
            StageError: it failed otherwise.
        """
        with self._command_turn:
            if self._restored(name, pull, f"Stage {name} failed", StageError):
                return False
            with self._dvc(f"Stage {name} failed") as repo:
                node = self._load(repo, name)
                with repo.lock:
                    node.remove_outs()
            log(f"Running stage '{name}':")
            for command in node.cmd if isinstance(node.cmd, list) else node.cmd.splitlines():
                self._run_command(name, command, Path(node.wdir), log)
            self.record(name)
            return True

    def restore(self, name: str, *, pull: bool = False) -> bool:
        """Bring a stage's results in without running it; returns whether they were known.

        Args:
            pull: look for them in the DVC remote as well, where another machine may have pushed them.
        """
        return self._restored(name, pull, f"The results of {name} could not be restored", TransientStageError)

    def record(self, name: str) -> None:
        """Enter the files of the workspace as a stage's results (`dvc commit`)."""
        with self._dvc(f"The results of {name} could not be recorded") as repo, repo.lock:
            node = self._load(repo, name)
            node.save()
            node.commit()
            node.dump(update_pipeline=False)

    def push(self) -> None:
        """Put results where other machines find them by content: in the DVC remote."""
        with self._dvc("dvc push failed", TransientStageError) as repo:
            repo.push(run_cache=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """While this is held, nothing writes dvc.lock but its holder; a command that runs goes on."""
        with self._repo_turn:
            yield

    def end(self) -> None:
        """End the command that runs, and what it started. No other begins."""
        self._is_ended = True
        if self._process:
            _kill_group(self._process)

    def close(self) -> None:
        """Release what DVC holds open."""
        if "_repo" in self.__dict__:
            self._repo.close()

    @cached_property
    def _repo(self) -> Any:
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)  # its progress is for terminals
        repo = Repo(str(self._folder))
        repo.stage_cache = _stage_cache(repo)
        return repo

    def _load(self, repo: Any, name: str) -> Any:
        """A stage as DVC knows it. By an absolute path: the flow's current folder has a dvc.yaml, too."""
        return repo.stage.load_one(path=str(self._folder / "dvc.yaml"), name=name)

    def _restored(self, name: str, pull: bool, problem: str, error: type[StageError]) -> bool:
        from dvc.stage.cache import RunCacheNotFoundError

        with self._dvc(problem, TransientStageError if pull else error) as repo:
            with repo.lock:
                node = self._load(repo, name)
                if not node.changed():
                    return True
                if pull:
                    repo.stage_cache.pull(None)
                try:
                    repo.stage_cache.restore(node, pull=pull)
                except RunCacheNotFoundError:
                    return False
            self.record(name)
            return True

    @contextmanager
    def _dvc(self, problem: str, kind: type[StageError] = StageError) -> Iterator[Any]:
        """DVC's project for one thread at a time; whatever DVC and its remotes raise is raised as `kind`."""
        with self._repo_turn:
            try:
                yield self._repo
            except EvergreenError:
                raise
            except Exception as error:  # DVC's own errors, a full disk, a remote's client
                raise kind(f"{problem}. {'; '.join(_reasons(error))}") from error

    def _run_command(self, name: str, command: str, folder: Path, log: Log) -> None:
        process = subprocess.Popen(
            ["/bin/sh", "-c", GROUP, "sh", command],
            cwd=folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._process, output = process, list[str]()
        if self._is_ended:  # between the two
            _kill_group(process)
        reaper = threading.Thread(target=_kill_group_after, args=(process,), daemon=True)
        reaper.start()
        try:
            assert process.stdout
            with process.stdout:
                for line in process.stdout:
                    if line.strip():
                        output.append(line.rstrip("\n"))
                        log(output[-1])
        finally:
            _kill_group(process)
            reaper.join()
        if self._is_ended:
            raise StageError(f"Stage {name} was killed: the run that it is part of ended.")
        if process.returncode:
            kind = TransientStageError if process.returncode == TRANSIENT else StageError
            raise kind(f"Stage {name} failed{_cause(process.returncode)}. {_last_words(output)}")


@contextmanager
def runner(folder: Path, environment: dict[str, str]) -> Iterator[Runner]:
    """A runner for the workspace in `folder`; what it started has ended when the block does.

    `python` in the stages' commands is this interpreter. DVC is imported, and the project read, when it is first needed.
    """
    stages_runner = Runner(folder, environment)
    try:
        yield stages_runner
    finally:
        stages_runner.end()
        stages_runner.close()


def needed_by(stages: Sequence[Stage], target: str) -> list[Stage]:
    """The stages that a stage waits for, in order, and the stage itself.

    Raises:
        StageError: there is no such stage.
    """
    if target not in {stage.name for stage in stages}:
        raise StageError(
            f"dvc.yaml has no stage {target}, only {', '.join(stage.name for stage in stages)}. Put it back there."
        )
    names = {target}
    for stage in reversed(stages):
        if stage.name in names:
            names |= set(stage.needs)
    return [stage for stage in stages if stage.name in names]


def _stage_cache(repo: Any) -> Any:
    """DVC's cache of runs, which takes the current folder for the project's: here it takes the project's."""
    from dvc.stage import PipelineStage, create_stage
    from dvc.stage.cache import StageCache
    from dvc.stage.loader import StageLoader

    class ProjectStageCache(StageCache):  # type: ignore[misc, unused-ignore]
        def _create_stage(self, cache: Any, wdir: str | None = None) -> Any:
            paths = {"path": str(Path(repo.root_dir) / "dvc.yaml"), "wdir": wdir or repo.root_dir}
            outs = [out["path"] for out in cache["outs"]]
            node = create_stage(PipelineStage, repo=repo, cmd=cache["cmd"], outs=outs, **paths)
            StageLoader.fill_from_lock(node, cache)
            return node

    return ProjectStageCache(repo)


def _stage(node: Any, needs: Sequence[str]) -> Stage:
    meta = node.meta or {}
    return Stage(node.name, meta.get("pool", "cpu"), int(meta.get("retries", 0)), needs=tuple(needs))


def _kill_group(process: subprocess.Popen[str]) -> None:
    """Have the watcher of a command kill its group; again is nothing."""
    assert process.stdin
    process.stdin.close()


def _kill_group_after(process: subprocess.Popen[str]) -> None:
    """What a command started may outlive it, and hold the pipe that its output is read from."""
    process.wait()
    _kill_group(process)


def _cause(status: int) -> str:
    """A signal says more than its number: the kernel kills what takes too much memory."""
    number = -status if status < 0 else status - 128
    return f" (ended by signal {number}; out of memory?)" if number in {signal.SIGKILL, signal.SIGTERM} else ""


def _last_words(output: list[str]) -> str:
    """From the stage's own ERROR on, else its last lines."""
    errors = [index for index, line in enumerate(output) if line.startswith("ERROR: ")]
    text = output[errors[-1] :] if errors else output[-20:]
    return "\n".join(text).removeprefix("ERROR: ")


def _reasons(error: BaseException | None) -> Iterator[str]:
    """What an error and its causes say."""
    while error is not None:
        yield str(error) or type(error).__name__
        error = error.__cause__
