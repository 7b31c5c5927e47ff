"""What every stage shares: its command line, and how it ends.

A stage is `main(*, rows: Path, out: Path, ...)`; each parameter is one `--option PATH` in dvc.yaml, so that
paths live there alone. An `EvergreenError` ends the stage with its text and no traceback.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pipelines.config.errors import EvergreenError, TransientError

TRANSIENT = 75  # EX_TEMPFAIL: the exit code that says that running the stage again can help
TIMES = "time: "  # how the last line of a stage begins


class Clock:
    """Where the time goes: at any moment to one of start, read, work and write, which sum to the total."""

    def __init__(self, starting: float = 0.0, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds = {"start": starting, "read": 0.0, "work": 0.0, "write": 0.0}
        self._phase, self._since, self._now = "work", now(), now

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = self._turn_to(name)
        try:
            yield
        finally:
            self._turn_to(before)

    def _turn_to(self, name: str) -> str:
        before, now = self._phase, self._now()
        self.seconds[before] += now - self._since
        self._phase, self._since = name, now
        return before

    def __str__(self) -> str:
        self._turn_to(self._phase)
        return ", ".join(f"{name} {spent:.1f} s" for name, spent in self.seconds.items())


_clock = Clock()


def phase(name: Literal["read", "write"]) -> Any:
    """`with stage.phase("read"):` around what a stage reads or writes."""
    return _clock.phase(name)


def run(main: Callable[..., None]) -> None:
    """Call `main` with the paths given on the command line; exit with 1 where it says what is wrong.

    The last line says where the time went, from the start of the process on.
    """
    global _clock
    _clock = Clock(_age())  # before main there are little but imports
    parser = argparse.ArgumentParser(description=inspect.getdoc(main))
    for name, parameter in inspect.signature(main, eval_str=True).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=parameter.annotation, required=True)
    arguments = vars(parser.parse_args())
    try:
        main(**arguments)
    except EvergreenError as error:
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        sys.exit(TRANSIENT if isinstance(error, TransientError) else 1)
    say(f"{TIMES}{_clock}")


def _age() -> float:
    """Seconds since this process started; 0 where the system does not say."""
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started
    except (OSError, AttributeError, ValueError):
        return 0.0


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """One line of progress, seen at once wherever the stage runs."""
    print(text, flush=True)


def write_text(path: Path, text: str) -> None:
    """Atomically: a killed process leaves the old file, never half a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = f"{os.getpid()}-{threading.get_ident()}"  # others may write the same page at the same time
    staging = path.with_name(f".{path.name}.{writer}.partial")
    with phase("write"), staging.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)


def write_json(path: Path, value: Any) -> None:
    """Canonical JSON: sorted keys, so that equal values are equal bytes; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def fault(point: str) -> None:
    """A named point where the fault tests strike: `EVERGREEN_FAULT=point:kill|raise|sleep`."""
    armed, _, action = os.environ.get("EVERGREEN_FAULT", "").rpartition(":")
    if armed != point:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "sleep":
        time.sleep(3600)
    raise EvergreenError(f"Fault injected at {point} (EVERGREEN_FAULT).")
