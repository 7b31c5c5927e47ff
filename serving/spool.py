"""The prediction log on this machine: what was answered stands in an open file before the answer leaves.

A folder of segments, each a file of lines. A write of lines is one system call, which a killed process has either made or not;
so SIGKILL loses nothing that was answered. Who writes a segment holds a lock on it, which the kernel takes back from the dead:
a segment without a lock is finished. The sender (serving/sender.py) reads behind the writer.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

SEGMENT_BYTES, SEGMENT_SECONDS = 64 * 2**20, 1800.0  # then the next file: what has arrived can be deleted
SUFFIX = ".log"


class Spool:
    """Appends lines to the newest segment of a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._descriptor = -1
        self._size = 0
        self._began = 0.0

    def write(self, lines: bytes) -> None:
        """Append whole lines, or nothing.

        Raises:
            OSError: the disk is full, say; no part of the lines is kept.
        """
        if self._descriptor < 0:
            self._begin()
        written = 0
        try:
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:] if written else lines)
        except OSError:
            if written:
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written

    @property
    def descriptor(self) -> int:
        """Of the segment that was written last, to be synced."""
        return self._descriptor

    def rotate(self, now: float) -> None:
        """Finish the segment when it is large or old; to be called now and then. `now` is monotonic, in seconds."""
        if self._size and (self._size >= SEGMENT_BYTES or now - self._began >= SEGMENT_SECONDS):
            self.close()

    def close(self) -> None:
        """Finish the segment."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._size = -1, 0

    def _begin(self) -> None:
        path = self.folder / f"{time.time_ns()}-{secrets.token_hex(4)}{SUFFIX}"
        draft = path.with_suffix(".new")  # nobody may see it without its lock, or it would pass for finished
        self._descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        draft.rename(path)
        self._size, self._began = 0, time.monotonic()


def segments(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def is_finished(path: Path) -> bool:
    """Whether nobody writes a segment any more."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def blank(folder: Path, is_meant: Callable[[bytes], bool]) -> int:
    """Overwrite some lines with blanks, on the disk as well; how many. A segment keeps its length, by which the sender counts.

    What is appended meanwhile is behind what is read here: to be called again until it finds nothing.
    """
    count = 0
    for path in segments(folder):
        with path.open("r+b") as file:
            at = 0
            for line in file.read().split(b"\n")[:-1]:
                if is_meant(line):
                    os.pwrite(file.fileno(), b" " * len(line), at)
                    count += 1
                at += len(line) + 1
            os.fsync(file.fileno())
    return count


def all_lines(folder: Path) -> Iterator[bytes]:
    """Whole lines of every segment, oldest first."""
    for path in segments(folder):
        yield from path.read_bytes().split(b"\n")[:-1]


def lines(path: Path, start: int, limit: int) -> Iterator[tuple[bytes, int]]:
    """Whole lines of a segment from an offset on, about `limit` bytes of them, each with the offset behind it."""
    with path.open("rb") as file:
        file.seek(start)
        content = file.read(limit)
    offset = start
    for line in content.split(b"\n")[:-1]:  # what is behind the last one is not whole yet
        offset += len(line) + 1
        yield line, offset
