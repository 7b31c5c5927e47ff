"""The process supervisor (supervisord): its file, its start, and the conversation with it."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.stack.processes import MARK, PROGRAM
from infra.stack.programs import Program
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

SOCKET_PATH_LIMIT = 100  # bytes; the kernel's is 107, and supervisord adds its process id while it starts
GROUP_ORDER = {"postgres": 1, "servers": 2, "workers": 3}  # started upwards, stopped downwards

HEAD = """\
; Written by `evergreen up`, which starts the supervisor in this folder. Passwords are not in here.
[supervisord]
logfile=logs/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
pidfile=supervisord.pid
{user}
[unix_http_server]
file={socket}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket}
[include]
files=apis/*.conf
"""
PROGRAM_PART = """
[program:{name}]
command={python} -m infra.stack.programs {name}
directory={code}
environment={variables}
autorestart=true
startsecs=1
startretries=1000
stopsignal={stop_signal}
stopwaitsecs=20
stopasgroup={as_group}
killasgroup={as_group}
redirect_stderr=true
stdout_logfile=logs/{name}.log
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=2
priority={priority}
"""


def write_file(settings: Settings, programs: Iterable[Program]) -> Path:
    """The supervisor's file, and one for each API: these come and go while it runs."""
    programs = list(programs)
    (settings.home / "logs").mkdir(parents=True, exist_ok=True)
    text = HEAD.format(socket=_escaped(socket_path(settings.home)), user="user=root" if os.geteuid() == 0 else "")
    text += "".join(_part(program) for program in programs if program.group in GROUP_ORDER)
    for group, place in GROUP_ORDER.items():
        members = ",".join(program.name for program in programs if program.group == group)
        text += f"\n[group:{group}]\nprograms={members}\npriority={place}\n" if members else ""
    file = settings.home / "supervisord.conf"
    file.write_text(text, encoding="utf-8")
    for old in (settings.home / "apis").glob("*.conf"):
        old.unlink()
    _write_apis(settings.home, programs)
    return file


def renew_apis(home: Path, programs: Iterable[Program], noted: Collection[str]) -> None:
    """Let a running supervisor take up the APIs that are new or changed, and end those that are not among `noted` any more.

    Args:
        programs: of this clone's APIs: other clones' run by their own environment.
    """
    for file in (home / "apis").glob("*.conf"):
        if file.stem not in noted:
            file.unlink()
    _write_apis(home, programs)
    with conversation(home) as supervisor:
        ((added, changed, removed),) = supervisor.reloadConfig()
        for group in (*changed, *removed):
            supervisor.stopProcessGroup(group)
            supervisor.removeProcessGroup(group)
        for group in (*added, *changed):
            supervisor.addProcessGroup(group)


def _write_apis(home: Path, programs: Iterable[Program]) -> None:
    for program in programs:
        if program.group not in GROUP_ORDER:
            (home / "apis" / f"{program.name}.conf").write_text(_part(program), encoding="utf-8")


def _part(program: Program) -> str:
    """Postgres alone stops by SIGINT (at once) and ends its children itself."""
    alone = program.name == "postgres"
    return PROGRAM_PART.format(
        name=program.name,
        python=_escaped(shlex.quote(sys.executable)),
        code=_escaped(Path(__file__).resolve().parents[2]),
        variables=",".join(f'{name}="{_escaped(value)}"' for name, value in {PROGRAM: program.name, **program.plain}.items()),
        stop_signal="INT" if alone else "TERM",
        as_group="false" if alone else "true",
        priority=GROUP_ORDER.get(program.group, GROUP_ORDER["servers"]),
    )


def launch(settings: Settings, programs: Iterable[Program], addresses: Mapping[str, str]) -> None:
    """Start supervisord with these programs, in a session of its own, so that it outlives the shell.

    Raises:
        EvergreenError: it did not start.
    """
    file = write_file(settings, programs)
    (settings.home / "stack.json").write_text(json.dumps(dict(addresses), indent=1))
    socket_path(settings.home).unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "supervisor.supervisord", "-c", str(file)],
        cwd=settings.home,
        env=_environment(settings),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a worker that ignores SIGINT cannot be stopped
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    if done.returncode != 0:
        raise EvergreenError(
            f"The process supervisor did not start: {done.stdout.strip()[-500:]}\n"
            f"Read {settings.home / 'logs' / 'supervisord.log'}."
        )


@contextmanager
def conversation(home: Path) -> Iterator[Any]:
    """The supervisor's XML-RPC interface, or None when none runs for this home."""
    from xmlrpc.client import Fault, ServerProxy

    from supervisor.xmlrpc import SupervisorTransport

    path = socket_path(home)
    transport = SupervisorTransport(serverurl=f"unix://{path}")
    try:
        supervisor: Any = ServerProxy("http://127.0.0.1", transport=transport).supervisor
        try:
            supervisor.getPID()
        except (OSError, Fault):
            supervisor = None
        yield supervisor
    finally:
        transport.close()


def is_running(home: Path) -> bool:
    with conversation(home) as supervisor:
        return supervisor is not None


def states(home: Path) -> dict[str, Mapping[str, Any]]:
    """What the supervisor says of each program by name: statename, pid, start (seconds since 1970); {} without one."""
    with conversation(home) as supervisor:
        return {info["name"]: info for info in supervisor.getAllProcessInfo()} if supervisor else {}


def noted_addresses(home: Path) -> dict[str, str]:
    """The addresses the running stack was started with."""
    file = home / "stack.json"
    return json.loads(file.read_text()) if file.exists() else {}


def forget(home: Path) -> None:
    """Remove what a supervisor that ended may have left."""
    for file in (home / "supervisord.pid", home / "stack.json", socket_path(home)):
        file.unlink(missing_ok=True)


def socket_path(home: Path) -> Path:
    """The supervisor's socket: in `home`, or in a private temporary folder where that path is too long for a socket.

    A socket, not a port: the file's mode keeps other users out, and no password is needed.
    """
    path = home / "supervisor.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return path
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"evergreen-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077 or folder.is_symlink():
        raise EvergreenError(f"{folder} is not a private folder of yours: remove it, or set EVERGREEN_HOME to a shorter path.")
    return folder / "supervisor.sock"


def _environment(settings: Settings) -> dict[str, str]:
    """Ours with the settings and the stack's mark.

    Left out: what is set for the caller's own Python, Prefect or MLflow and would reach every program, and addresses that
    no program of the stack itself needs.
    """
    foreign = ("PREFECT_", "MLFLOW_", "SUPERVISOR_", "PYTHONPATH", "PYTHONWARNINGS", "PYTEST_", "COVERAGE_")
    unneeded = ("SOURCE_URL", "LOAD_URL", "PROMOTER_URL", "WATCHER_URL")
    path = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), os.environ.get("PATH"))))
    given = os.environ | settings.environment() | {"PATH": path, MARK: str(settings.home)}
    names = settings.environment()
    return {
        name: value for name, value in given.items() if name in names or not name.startswith(foreign) if name not in unneeded
    }


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")
