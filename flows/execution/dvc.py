"""DVC's graph, and its stages run one at a time in a process of their own.

The flow keeps one such process, in the workspace: DVC is imported once, its output is
the stage's log, and when the flow dies, the end of its pipe ends the process with whatever it was running.

The process is told a token, prints the stages, then obeys one order a line (`["run", "split"]`). What it prints is
the log, up to a line that begins with the token: the closing record of the order.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.config.errors import EvergreenError
from pipelines.config.stage import TRANSIENT

READ_PAUSES_S = (0.2, 0.5, 1.0)
UNKNOWN = 3  # closes an order to restore what nobody has made yet
# This code, and not the workspace's, which may be of another commit and speak another protocol. The stages are the
# workspace's: they are run as `python -m`, which looks there first.
OWN_MAIN = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r}); from flows.execution.dvc import main; main()"


@dataclass(frozen=True)
class Stage:
    """A node of dvc.yaml."""

    name: str
    pool: str
    retries: int
    needs: tuple[str, ...] = ()  # stages whose outputs it reads
    is_nonblocking: bool = False  # neither another stage nor the gate waits for it


class StageError(EvergreenError):
    """A stage ended red. Its text is what the stage said last."""


class TransientStageError(StageError):
    """A stage met a database that may be back in a minute."""


class Runner:
    """Runs the stages of one workspace, one at a time: threads that share it take turns.

    Its process imports DVC at once, and reads the project when it is first asked for something.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._turn = threading.RLock()
        self._token = secrets.token_hex(16)  # nothing that a stage prints can be taken for a record

    @cached_property
    def stages(self) -> list[Stage]:
        """Every stage of dvc.yaml, each after those it depends on.

        Raises:
            StageError: DVC does not read this project, or a stage is `beside` that others wait for.
        """
        rows, output = self._exchange_line(self._token, log=lambda _: None)
        if rows is None:
            raise StageError(f"DVC does not read this project. {_closing_words(output)}")
        stages = [Stage(**row | {"needs": tuple(row["needs"])}) for row in rows]
        needed = {name for stage in stages for name in stage.needs}
        if wrong := [stage.name for stage in stages if stage.is_nonblocking and stage.name in needed]:
            raise StageError(f"dvc.yaml: stages need what {', '.join(wrong)} makes: take `beside` out of its meta.")
        return stages

    @contextmanager
    def still(self) -> Iterator[None]:
        """While this is held, no stage runs and nothing writes dvc.lock but its holder."""
        with self._turn:
            yield

    def end(self) -> None:
        """End the process and what it runs. The order that it is at, and every later one, fails."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def run(self, name: str, log: Callable[[str], None]) -> bool:
        """Run a stage unless its results are known; returns whether it had to run.

        Raises:
            TransientStageError: the stage says that running it again can help.
            StageError: it failed otherwise.
        """
        output = self._run(["run", name], log)
        return f"Running stage '{name}':" in output  # DVC's return value counts what it restored, too

    def run_unrecorded(self, name: str, log: Callable[[str], None]) -> None:
        """Run a stage's command on what lies here, and leave DVC's books alone: another runner can work meanwhile, and
        `record` what was made.

        Raises:
            TransientStageError, StageError: as `run`.
        """
        self._run(["assist", name], log)

    def record(self, name: str, log: Callable[[str], None]) -> None:
        """Enter what lies here as a stage's results, as if `run` had made them."""
        status, output = self._order(["record", name], log)
        if status:
            raise StageError(f"The results of {name} could not be kept. {_closing_words(output)}")

    def _run(self, order: list[Any], log: Callable[[str], None]) -> list[str]:
        """What the stage said."""
        status, output = self._order(order, log)
        if status:
            kind = TransientStageError if status == TRANSIENT else StageError
            raise kind(f"Stage {order[1]} failed{_cause(status)}. {_closing_words(output)}")
        return output

    def restore(self, name: str, log: Callable[[str], None], *, pull: bool = False) -> bool:
        """Bring a stage's results in without running it; returns whether they were known.

        Args:
            pull: look for them in the DVC remote as well, where another machine may have pushed them.
        """
        status, output = self._order(["pull" if pull else "restore", name], log)
        if status not in {0, UNKNOWN}:
            raise TransientStageError(f"The results of {name} could not be restored. {_closing_words(output)}")
        return status == 0

    def exchange(self, what: str, log: Callable[[str], None], name: str = "") -> None:
        """Move results between machines through the DVC remote, by content.

        Args:
            what: `push` what this workspace has; `repro` a stage from what others have pushed.
        """
        status, output = self._order([what, name], log)
        if status:
            raise TransientStageError(f"dvc {what} {name} failed. {_closing_words(output)}")

    def _order(self, order: list[Any], log: Callable[[str], None]) -> tuple[int, list[str]]:
        with self._turn:
            _ = self.stages  # the first thing that its process is to be asked
            status, output = self._exchange_line(json.dumps(order), log)
        return (1 if status is None else status), output

    def _exchange_line(self, line: str, log: Callable[[str], None]) -> tuple[Any, list[str]]:
        """Send a line; the record that answers it (None: the process ended without one), and what was said before."""
        assert self._process.stdin and self._process.stdout
        output: list[str] = []
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        for answer in self._process.stdout:
            if answer.startswith(self._token):
                return json.loads(answer[len(self._token) :]), output
            if answer.strip():
                output.append(answer.rstrip("\n"))
                log(output[-1])
        output.append(f"The stage process ended with {self._process.wait()}: it was killed, or ran out of memory.")
        return None, output


@contextmanager
def runner(folder: Path, environment: dict[str, str]) -> Iterator[Runner]:
    """A runner for the workspace in `folder`; ends, with everything it started, when the block does.

    `python` in the stages' commands is this interpreter.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_MAIN],
        cwd=folder,
        env=environment | {"PATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    reaper = threading.Thread(target=_end_with, args=(process,), daemon=True)
    reaper.start()
    try:
        yield Runner(process)
    finally:
        assert process.stdin and process.stdout
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        reaper.join()
        process.stdout.close()


def _end_with(process: subprocess.Popen[str]) -> None:
    """A stage whose parent was killed would run on, and hold the pipe that we read."""
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _cause(status: int) -> str:
    """A signal says more than its number: the kernel kills what takes too much memory."""
    number = -status if status < 0 else status - 128
    return f" (ended by signal {number}; out of memory?)" if number in {signal.SIGKILL, signal.SIGTERM} else ""


def _closing_words(output: list[str]) -> str:
    """From the stage's own ERROR on, else its last lines."""
    errors = [index for index, line in enumerate(output) if line.startswith("ERROR: ")]
    text = output[errors[-1] :] if errors else output[-20:]
    return "\n".join(text).removeprefix("ERROR: ")


def _read() -> tuple[Any, list[Stage]]:
    """The project and its stages. Another runner of the workspace may be in the middle of writing dvc.lock, so what cannot be
    read is read again."""
    from dvc.repo import Repo

    for pause in READ_PAUSES_S:
        try:
            repo = Repo(".")
            return repo, _stages(repo)
        except Exception:
            time.sleep(pause)
    repo = Repo(".")
    return repo, _stages(repo)


def _stages(repo: Any) -> list[Stage]:
    """Every stage of dvc.yaml, each after those it depends on. An internal API of DVC's: pinned, and tested."""
    import networkx

    graph = networkx.lexicographical_topological_sort(repo.index.graph.reverse(), key=lambda stage: stage.addressing)
    return [_stage(stage, needs=repo.index.graph.successors(stage)) for stage in graph]


def _stage(stage: Any, needs: Iterable[Any]) -> Stage:
    meta = stage.meta or {}
    return Stage(
        stage.addressing,
        meta.get("pool", "cpu"),
        int(meta.get("retries", 0)),
        needs=tuple(sorted(need.addressing for need in needs)),
        is_nonblocking=bool(meta.get("beside", False)),
    )


def _obey(repo: Any, what: str, name: str) -> int:
    """Carry out one order; its closing record, which is 0 or the exit code of the stage."""
    from dvc.exceptions import DvcException

    try:
        if what == "run":
            repo.reproduce(name, single_item=True)
        elif what == "repro":
            repo.reproduce(name, pull=True)
        elif what in {"restore", "pull"}:
            return _restore(repo, name, pull=what == "pull")
        elif what == "push":
            repo.push(run_cache=True)
        elif what == "assist":
            _assist(repo, name)
        elif what == "record":
            repo.commit(name, force=True)
    except DvcException as error:
        return _status(error)
    except Exception as error:  # a full disk, say: the flow is to hear of it, and the order to be closed
        print(f"ERROR: {type(error).__name__} in dvc {what} {name}: {error}", flush=True)
        return 1
    return 0


def _assist(repo: Any, name: str) -> None:
    """Run a stage's command on its inputs, outside DVC's books."""
    from dvc.stage.run import cmd_run

    stage = next(node for node in repo.index.stages if node.addressing == name)  # as it was read: dvc.lock may be written now
    for needed in stage.deps:
        if not needed.exists:
            repo.pull(needed.def_path)
    cmd_run(stage)


def _restore(repo: Any, name: str, *, pull: bool) -> int:
    """Bring a stage's results in and enter them into dvc.lock; UNKNOWN where `reproduce` would have to run it."""
    from dvc.stage.cache import RunCacheNotFoundError

    with repo.lock:
        if pull:
            repo.stage_cache.pull(None)
        try:
            repo.stage_cache.restore(repo.stage.load_one(name=name), pull=pull)
        except RunCacheNotFoundError:
            return UNKNOWN
    repo.reproduce(name, single_item=True)
    return 0


def _status(error: BaseException | None) -> int:
    """The exit code of the stage, where it was the stage that failed."""
    reasons = []
    while error is not None:
        reasons.append(str(error))
        error = error.__cause__
    exited = re.search(r"exited with (-?\d+)", " ".join(reasons))
    if not exited:
        print(f"ERROR: DVC: {'; '.join(reasons)}", flush=True)
    return int(exited[1]) if exited else 1


def _orders() -> queue.Queue[str | None]:
    """Lines of stdin, and None at its end. When it ends while a stage runs, the flow is gone: this process and the stage
    go too."""
    waiting: queue.Queue[str | None] = queue.Queue()
    lines = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a stage that reads its input must not read our orders

    def read() -> None:
        for line in lines:
            waiting.put(line.strip())
        if waiting.unfinished_tasks:
            os.killpg(0, signal.SIGKILL)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    return waiting


def main() -> None:
    from dvc.exceptions import DvcException

    importlib.import_module("dvc.repo")  # while nobody asks for anything yet
    orders = _orders()
    token = orders.get()
    if token is None:  # nobody had anything to ask
        return

    def answer(record: Any) -> None:
        orders.task_done()
        print(f"\n{token}{json.dumps(record)}", flush=True)  # a stage may have ended within a line

    try:
        repo, stages = _read()
        with repo:
            answer([asdict(stage) for stage in stages])
            while (order := orders.get()) is not None:
                answer(_obey(repo, *json.loads(order)))
    except DvcException as error:
        sys.exit(f"ERROR: {error}")
