"""The prediction log's way to Postgres: `python -m serving.sender FOLDER MODEL`, a process beside the server.

It reads segments behind their writer and copies a part of them in one transaction together with how far that was, so that a
kill at any point sends nothing twice and leaves nothing out. While Postgres is away it waits. It ends when its standard input
does: when the server has gone, in whatever way; by then it has sent what it could within LAST_SECONDS.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import load as load_settings
from pipelines.data import postgres
from pipelines.registry.schema import query
from serving import records, spool

PART_BYTES = 4 * 2**20  # of a transaction
PAUSE_SECONDS, LONGEST_PAUSE = 0.5, 10.0
LAST_SECONDS = 8.0  # the supervisor waits 20 s for the whole program
STATEMENT_SECONDS = 30
PROGRESS = "sent.json"


class Sender:
    """Sends the segments of one folder. `sent`: segment -> bytes of it that have arrived."""

    def __init__(self, url: str, model: str, folder: Path) -> None:
        self.url, self.model, self.folder = url, model, folder
        self.sent: dict[str, int] = {}
        self.unreadable = 0
        self._behind_since: float | None = None
        self._ended: date | None = None
        self._lock = os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600)

    def leads(self) -> bool:
        """Whether this one sends: of several over one folder, as while a server is replaced, the first does, for all."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let another one lead."""
        os.close(self._lock)

    def round(self) -> int:
        """Send what stands in the folder now, and delete what has arrived whole; how many records that was.

        Raises:
            EvergreenError: Postgres is out of reach, or refuses. What was sent by then has arrived.
        """
        count = 0
        segments = [segment for segment in spool.segments(self.folder) if self._has_news(segment)]
        if not segments:
            return count
        with postgres.connect(self.url, statement_timeout_s=STATEMENT_SECONDS) as connection:
            for segment in segments:
                finished = spool.is_finished(segment)  # asked before it is read: nothing comes after
                while sent := self._send_part(connection, segment):
                    count += sent
                if finished:
                    self._forget(connection, segment)
        return count

    def end_runs(self, today: date) -> None:
        """Once a day, when everything has arrived: the runs of days gone by are complete."""
        if today != self._ended:
            with postgres.connect(self.url, statement_timeout_s=STATEMENT_SECONDS) as connection:
                query(connection, "end_api_runs", model=self.model, today=today)
            self._ended = today

    def note(self, error: str = "") -> None:
        """Leave word for the server's /metrics and /ready of how far this is."""
        sizes = {path.name: path.stat().st_size for path in spool.segments(self.folder)}
        waiting = sum(size - self.sent.get(name, 0) for name, size in sizes.items())
        self._behind_since = (self._behind_since or time.time()) if waiting else None
        self.sent = {name: offset for name, offset in self.sent.items() if name in sizes}
        progress = {"waiting_bytes": waiting, "behind_since": self._behind_since, "unreadable": self.unreadable, "error": error}
        stage.write_json(self.folder / PROGRESS, progress)

    def _has_news(self, segment: Path) -> bool:
        return segment.stat().st_size != self.sent.get(segment.name) or spool.is_finished(segment)

    def _send_part(self, connection: Any, segment: Path) -> int:
        """One transaction; the records it sent, 0 when nothing whole is left."""
        name = segment.name
        start = query(connection, "log_segment", model=self.model, segment=name)[0]["sent_bytes"]
        lines = list(spool.lines(segment, start, PART_BYTES))
        end = lines[-1][1] if lines else start
        if lines:
            read = [records.read(line) for line, _ in lines if line.strip()]  # blank: somebody was erased
            intact = [record for record in read if record is not None]
            stage.fault("send:read")
            records.insert(connection, self.model, intact)
            query(connection, "move_log_segment", model=self.model, segment=name, sent_bytes=end)
            stage.fault("send:copied")
            self.unreadable += len(read) - len(intact)
        connection.commit()
        stage.fault("send:committed")
        self.sent[name] = end
        return len(lines)

    def _forget(self, connection: Any, segment: Path) -> None:
        """Of a finished segment everything has arrived. Half a line at its end is of an answer that nobody was given.

        The file goes first: without its row a segment would be sent once more.
        """
        if segment.stat().st_size > self.sent[segment.name]:
            self.unreadable += 1
        segment.unlink()
        stage.fault("send:unlinked")
        query(connection, "forget_log_segment", model=self.model, segment=segment.name)
        connection.commit()


def run(sender: Sender, wait: Callable[[float], bool]) -> None:
    """Send until `wait`, which is given seconds, says that the server has gone; then what is left."""
    pause = PAUSE_SECONDS
    while not wait(pause):
        pause = PAUSE_SECONDS if attempt(sender) else min(2 * pause, LONGEST_PAUSE)
    deadline = time.monotonic() + LAST_SECONDS
    while not attempt(sender) and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)


def attempt(sender: Sender) -> bool:
    """One round; False where Postgres did not take it."""
    if not sender.leads():
        return True
    error = ""
    try:
        if not sender.round():
            sender.end_runs(datetime.now(UTC).date())
    except EvergreenError as raised:
        error = str(raised)
        print(error, file=sys.stderr, flush=True)
    sender.note(error)
    return not error


def main(folder: Path, model: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the supervisor tells the whole group; the server ends this by its pipe
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait(seconds: float) -> bool:
        return bool(select.select([sys.stdin], [], [], seconds)[0])

    run(Sender(load_settings().scorer_url, model, folder), wait)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
