"""The local stack: Postgres, MLflow, Prefect, its workers, the API and the report site, below one folder, on 127.0.0.1."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from dotenv import dotenv_values

from infra.stack import api_key, apis, pools, postgres_server, processes, site, store, supervisor_control
from infra.stack.programs import Program, programs
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import PARTS, Settings, is_local
from pipelines.registry import ledger, roles

START_SECONDS = 180  # a cold start takes 15 to 45 s
STOP_SECONDS = 90
MAX_LIVES = 3  # a program that started so often while we waited will not come up

Say = Callable[[str], None]
State = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """One program's state: ready, starting, stopped, or elsewhere (a server of the user's own)."""

    program: str
    state: str
    address: str
    pid: int | None
    log: Path | None


def up(settings: Settings, say: Say) -> None:
    """Start what is not running, and return when everything answers. Harmless when it runs.

    Raises:
        EvergreenError: a port is taken, a program does not come up, or the store cannot be used; says what to do.
    """
    began = time.monotonic()
    with store.locked(settings.home):
        store.check_version(settings.home)
        _check_env_file(settings)
        passwords = store.passwords(settings)
        store.add_auth(settings)
        if running := supervisor_control.is_running(settings.home):
            _check_same_addresses(settings)
        apis.claim(settings, say)
        chosen = programs(settings)
        if running:
            _renew_apis(settings, chosen)
            _start_stopped(settings)
        else:
            _launch(settings, chosen, passwords)
        _wait(settings, chosen, passwords, say)
    say(f"everything is ready in {time.monotonic() - began:.1f} s")


def down(settings: Settings, say: Say) -> None:
    """Stop everything; no process of the stack is left. Harmless when nothing runs.

    Raises:
        EvergreenError: a process did not end.
    """
    if not settings.home.exists():
        say("nothing is running")
        return
    with store.locked(settings.home):
        running = processes.belonging_to(settings.home)
        with supervisor_control.conversation(settings.home) as supervisor:
            if supervisor:
                _stop_workers(settings, supervisor)
                supervisor.shutdown()
                psutil.wait_procs(running, timeout=STOP_SECONDS)
        left = processes.end(processes.belonging_to(settings.home))
        if left:
            names = ", ".join(f"{process.name()} (pid {process.pid})" for process in left)
            raise EvergreenError(f"Still running after SIGKILL: {names}. The system holds them; try again later.")
        supervisor_control.forget(settings.home)
    say("stopped" if running else "nothing is running")


def status(settings: Settings) -> list[Row]:
    """One row a program, in starting order."""
    states = supervisor_control.states(settings.home)
    rows = [_row(settings, program, states.get(program.name)) for program in programs(settings).values()]
    servers = {"mlflow": settings.mlflow_tracking_uri, "prefect": settings.prefect_api_url, "site": settings.site_url}
    servers["api"] = settings.api_url
    return rows + [Row(name, "elsewhere", url, None, None) for name, url in servers.items() if not is_local(url)]


def port_conflicts(settings: Settings) -> dict[str, str]:
    """For each program whose port somebody holds, what to do. To be asked while the stack is stopped."""
    conflicts = {}
    for program in programs(settings).values():
        if program.port and not processes.is_free(program.port):
            home = processes.stack_at(program.port)
            holder = f"the Evergreen whose home is {home}" if home else processes.holder_of(program.port) or "another program"
            act = f"share it by EVERGREEN_HOME={home} in .env" if home else "end that program"
            conflicts[program.name] = (
                f"Port {program.port}, meant for {program.name}, is taken by {holder}. {act[0].upper()}{act[1:]}, or set "
                f"{program.setting} in .env to a free port."
            )
    return conflicts


def _refuse_conflicts(settings: Settings) -> None:
    """Tell of every port that is taken at once, and how to share the stack that holds them, or to have one beside it.

    Raises:
        EvergreenError
    """
    conflicts = port_conflicts(settings)
    taken = [program for program in programs(settings).values() if program.name in conflicts]
    if not taken:
        return
    lines = list(conflicts.values())
    for home in sorted({home for conflict in taken if (home := processes.stack_at(conflict.port))}):
        other_addresses, addresses = supervisor_control.noted_addresses(home), _addresses(settings)
        shared = [
            f"EVERGREEN_HOME={home}",
            *(f"{name}={value}" for name, value in other_addresses.items() if addresses.get(name) != value),
        ]
        lines.append(f"To share that stack, put this into {settings.folder / '.env'}:\n  " + "\n  ".join(shared))
    beside = dict.fromkeys(_moved(settings, conflict) for conflict in taken)
    lines.append(f"For a stack beside it, put this into {settings.folder / '.env'}:\n  " + "\n  ".join(beside))
    raise EvergreenError("\n".join(lines))


def _moved(settings: Settings, program: Program) -> str:
    """The line of .env that gives a program the next free port."""
    free = next(port for port in range(program.port + 1, 65536) if processes.is_free(port))
    value = {**_addresses(settings), "EVERGREEN_API_URL": settings.api_url}[program.setting]
    return f"{program.setting}={value.replace(str(program.port), str(free))}"


def _check_env_file(settings: Settings) -> None:
    """A database of the user's own must be in .env: a worker runs flows later, without this shell's variables."""
    written = dotenv_values(settings.folder / ".env")
    configured = {"SOURCE_URL": settings.source, "EVERGREEN_URL": settings.evergreen}
    for name, value in {**configured, **{f"{role.upper()}_URL": getattr(settings, role) for role in PARTS}}.items():
        if value and not written.get(name):
            raise EvergreenError(
                f"{name} is set in this shell but not in {settings.folder / '.env'}. Scheduled runs do not see this "
                f"shell and would use another database: put the line {name}=... into that file."
            )


def _addresses(settings: Settings) -> dict[str, str]:
    return {
        "EVERGREEN_POSTGRES_PORT": str(settings.postgres_port),
        "PREFECT_API_URL": settings.prefect_api_url,
        "MLFLOW_TRACKING_URI": settings.mlflow_tracking_uri,
        "EVERGREEN_SITE_URL": settings.site_url,
        "EVERGREEN_AUTH": str(settings.auth).lower(),
    }


def _check_same_addresses(settings: Settings) -> None:
    """Refuse to pass off a running stack with other addresses as this project's."""
    running = supervisor_control.noted_addresses(settings.home)
    wanted = _addresses(settings)
    differing = [f"{name} is {value} there, {wanted[name]} here" for name, value in running.items() if wanted[name] != value]
    if differing:
        raise EvergreenError(
            f"The stack in {settings.home} runs with other addresses: {'; '.join(differing)}. Put the same into .env, "
            "or run `evergreen down` first."
        )


def _launch(settings: Settings, chosen: Mapping[str, Program], passwords: Mapping[str, str]) -> None:
    """Start the supervisor on cleared ground: what a killed stack left running is ended first."""
    processes.end(processes.belonging_to(settings.home))
    _refuse_conflicts(settings)
    store.stamp(settings.home)
    (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
    site.folder(settings.home)
    if settings.embeds_postgres:
        postgres_server.initialise(settings.home / "postgres", passwords["postgres"])
    if settings.evergreen:
        postgres_server.prepare_own(settings.evergreen)
    supervisor_control.launch(settings, chosen.values(), _addresses(settings))


def _renew_apis(settings: Settings, chosen: Mapping[str, Program]) -> None:
    """This clone's API as it is now, beside those of other clones.

    Raises:
        EvergreenError: its port is taken by a program that is none of the stack's.
    """
    noted = apis.noted(settings.home)
    clone_apis = {api.program: chosen[api.program] for api in noted if api.clone == str(settings.folder)}
    supervisor_control.renew_apis(settings.home, (), [api.program for api in noted])  # whose port may be wanted now
    states = supervisor_control.states(settings.home)
    for name, conflict in port_conflicts(settings).items():
        if name in clone_apis and name not in states:
            raise EvergreenError(conflict)
    supervisor_control.renew_apis(settings.home, clone_apis.values(), [api.program for api in noted])


def _start_stopped(settings: Settings) -> None:
    with supervisor_control.conversation(settings.home) as supervisor:
        for info in supervisor.getAllProcessInfo():
            if info["statename"] in {"STOPPED", "EXITED", "FATAL"}:
                supervisor.startProcess(f"{info['group']}:{info['name']}", False)


def _wait(settings: Settings, chosen: Mapping[str, Program], passwords: Mapping[str, str], say: Say) -> None:
    """Wait until each program answers, making on the way what the next ones wait for."""
    began, waiting = time.monotonic(), dict(chosen)
    lives: dict[str, set[object]] = {name: set() for name in chosen}
    while waiting:
        states = supervisor_control.states(settings.home)
        for name, program in list(waiting.items()):
            if _is_ready(program, states.get(name)):
                _prepare(settings, name, passwords)
                del waiting[name]
                say(f"{name} ready in {time.monotonic() - began:.1f} s ({program.address})")
            else:
                lives[name].add(states.get(name, {}).get("pid"))
        _give_up(settings, waiting, lives, time.monotonic() - began)
        time.sleep(0.3 if waiting else 0)
    if applied := ledger.migrate(settings.evergreen_url):
        say(f"schema evergreen is at {applied[-1]}")
    roles.grant(settings.evergreen_url, roles.of(settings))
    api_key.ensure(settings)


def _is_ready(program: Program, state: State | None) -> bool:
    return state is not None and state["statename"] == "RUNNING" and program.ready(state["start"])


def _prepare(settings: Settings, ready: str, passwords: Mapping[str, str]) -> None:
    if ready == "postgres":
        postgres_server.prepare(settings.embedded_url("postgres", "postgres"), passwords)
    if ready == "prefect":
        pools.make(settings)


def _give_up(settings: Settings, waiting: Mapping[str, Program], lives: Mapping[str, set[object]], waited: float) -> None:
    for name in waiting:
        if len(lives[name]) > MAX_LIVES or waited > START_SECONDS:
            raise EvergreenError(
                f"{name} does not come up. The end of {store.log_file(settings, name)}:\n{store.log_tail(settings, name)}\n"
                "Put that right, then run `evergreen up` again; `evergreen doctor` looks for the usual causes."
            )


def _stop_workers(settings: Settings, supervisor: Any) -> None:
    """Stop them first and what they run, while Prefect can still be told. A run has a session of its own, which signals to
    the worker's group miss, and a worker that stops leaves its runs marked as Running."""
    workers = [info["name"] for info in supervisor.getAllProcessInfo() if info["group"] == "workers"]
    if workers:
        supervisor.stopProcessGroup("workers")
        processes.end(processes.belonging_to(settings.home, workers))
    for worker in workers:
        pools.crash_runs_of(settings, worker, "Ended by `evergreen down`. Run it again after `evergreen up`.")


def _row(settings: Settings, program: Program, state: State | None) -> Row:
    log = store.log_file(settings, program.name)
    if state is None or state["statename"] not in {"RUNNING", "STARTING"}:
        return Row(program.name, "stopped", program.address, None, log)
    word = "ready" if _is_ready(program, state) else "starting"
    return Row(program.name, word, program.address, state["pid"], log)
