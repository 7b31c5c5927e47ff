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
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.errors import EvergreenError, TransientError

TRANSIENT = 75  # EX_TEMPFAIL: the exit code that says that running the stage again can help


def run(main: Callable[..., None]) -> None:
    """Call `main` with the paths given on the command line; exit with 1 where it says what is wrong."""
    parser = argparse.ArgumentParser(description=inspect.getdoc(main))
    for name, parameter in inspect.signature(main, eval_str=True).parameters.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=parameter.annotation, required=True)
    try:
        main(**vars(parser.parse_args()))
    except EvergreenError as error:
        print(f"ERROR: {error}", file=sys.stderr, flush=True)
        sys.exit(TRANSIENT if isinstance(error, TransientError) else 1)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def say(text: str) -> None:
    """One line of progress, seen at once wherever the stage runs."""
    print(text, flush=True)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all: a killed process leaves the old file, never half a new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_name(f".{path.name}.{os.getpid()}.partial")  # others may write the same page at the same time
    with staging.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    staging.rename(path)


def write_json(path: Path, value: Any) -> None:
    """Canonical JSON: sorted keys, so that equal values are equal bytes; NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def fault(point: str) -> None:
    """A named point where the fault tests strike: `EVERGREEN_FAULT=point:kill|raise|sleep`."""
    wanted, _, action = os.environ.get("EVERGREEN_FAULT", "").rpartition(":")
    if wanted != point:
        return
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "sleep":
        time.sleep(3600)
    raise EvergreenError(f"Fault injected at {point} (EVERGREEN_FAULT).")
