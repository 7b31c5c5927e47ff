"""Which processes belong to a stack, how to end them, and who holds a port.

A stack marks its processes with a variable in their environment: it survives reparenting and new sessions, which a
process tree or group does not (a flow run whose worker was killed belongs to nobody).
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "EVERGREEN_STACK"  # value: the stack's home
PROGRAM = "EVERGREEN_PROGRAM"  # value: the supervised program the process descends from


def belonging_to(home: Path, programs: Collection[str] | None = None) -> list[psutil.Process]:
    """Living processes of the stack in `home`, or only those that descend from some of its programs.

    The caller and its ancestors are left out, so that nobody ends himself.
    """
    ancestors = {os.getpid(), *(process.pid for process in psutil.Process().parents())}
    return [process for process in psutil.process_iter() if process.pid not in ancestors and _belongs(process, home, programs)]


def end(processes: list[psutil.Process], patience: float = 10) -> list[psutil.Process]:
    """Ask, wait `patience` seconds, kill; returns what is alive even then."""
    for process in processes:
        _send(process, _polite_signal(process))
    _, alive = psutil.wait_procs(processes, timeout=patience)
    for process in alive:
        _send(process, signal.SIGKILL)
    _, alive = psutil.wait_procs(alive, timeout=5)
    return [process for process in alive if _is_living(process)]


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """The program that listens on a port, such as "python3 (pid 71)"; "" when we may not see it."""
    process = _listener(port)
    try:
        return f"{process.name()} (pid {process.pid})" if process else ""
    except psutil.NoSuchProcess:
        return ""


def stack_at(port: int) -> Path | None:
    """The home of the stack whose program listens on a port; None where it is no stack's, or we may not see it."""
    process = _listener(port)
    try:
        if process is None:
            return None
        if process.name().startswith("postgres") and (data := Path(process.cwd())).name == "postgres":
            return data.parent if (data.parent / "stack.json").exists() else None
        marked = process.environ().get(MARK)
    except (psutil.Error, OSError):
        return None
    return Path(marked) if marked else None


def _listener(port: int) -> psutil.Process | None:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
            try:
                return psutil.Process(connection.pid)
            except psutil.NoSuchProcess:
                continue
    return None


def _belongs(process: psutil.Process, home: Path, programs: Collection[str] | None) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # Postgres overwrites the environment of its children with their titles; they work in the data folder.
        if process.name().startswith("postgres") and process.cwd() == str(home / "postgres"):
            return programs is None or "postgres" in programs
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    return environment.get(MARK) == str(home) and (programs is None or environment.get(PROGRAM) in programs)


def _polite_signal(process: psutil.Process) -> signal.Signals:
    """SIGTERM, except for Postgres, which then waits for its clients to leave."""
    try:
        return signal.SIGINT if process.name() == "postgres" else signal.SIGTERM
    except psutil.Error:
        return signal.SIGTERM


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def _is_living(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
