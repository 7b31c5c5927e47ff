"""The programs of the local stack: what each one runs, with which variables, and what it waits for.

The supervisor starts `python -m infra.stack.programs NAME`, which waits for what NAME needs, ends what an earlier life of
NAME left behind, and becomes the program. So no secret is in the supervisor's file or on a command line: it goes from
the secrets file into the environment of the one program that needs it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from infra.stack import apis, pools, postgres_server, processes
from pipelines.config.settings import LOCAL, Settings, is_local

CPU_RUNS = max(4, os.cpu_count() or 1)  # a retraining holds one slot and waits for stages that need another
# What differs between the clones that a worker serves, passwords among it: each clone's .env has it
NOT_PASSED_ON = (
    "SOURCE_URL",
    "EVERGREEN_URL",
    "PROMOTER_URL",
    "SCORER_URL",
    "WATCHER_URL",
    "LOAD_URL",
    "EVERGREEN_DVC_REMOTE",
    "EVERGREEN_POOLS",
    "EVERGREEN_REPOSITORY",
    "EVERGREEN_IMAGE",
    "EVERGREEN_NOTIFY",
)
FRESH_SECONDS = 30.0  # a worker is heard every 5 s
# Prefect takes runs out of its database, with their logs, that ended so long ago (seconds: 90 days), and events after a week
RETENTION = {
    name: os.environ.get(name, default)
    for name, default in {
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "7776000",
    }.items()
}
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Program:
    """One supervised program.

    `ready` is asked without waiting, with the time (seconds since 1970) this life of the program began.
    """

    name: str
    group: str  # groups stop one after the other: workers, servers and APIs, postgres; an API is a group of its own
    arguments: Callable[[], list[str]]
    ready: Callable[[float], bool]
    port: int = 0
    setting: str = ""  # which setting moves the port
    address: str = ""
    plain: Mapping[str, str] = field(default_factory=dict)  # variables that are in the supervisor's file: no secrets
    variables: Callable[[], Mapping[str, str]] = field(default=dict)
    needs: Callable[[], bool] = lambda: True
    before: Callable[[], object] = lambda: None


def programs(settings: Settings) -> dict[str, Program]:
    """The programs this stack runs, in the order they start: servers at other hosts are not among them."""
    chosen = [_postgres(settings)] if settings.embeds_postgres else []
    if is_local(settings.mlflow_tracking_uri):
        chosen.append(_mlflow(settings))
    if is_local(settings.prefect_api_url):
        chosen.append(_prefect(settings))
    if is_local(settings.site_url):
        chosen.append(_site(settings))
    chosen.extend(_api(settings, api) for api in apis.served(settings))
    if is_local(settings.prefect_api_url):
        chosen.extend(_worker(settings, pool) for pool in pools.LIMITS if pool in settings.pools)
    return {program.name: program for program in chosen}


def in_containers(settings: Settings) -> dict[str, Callable[[], Program]]:
    """The programs that have a container each, by its name there; their addresses are those of other hosts."""
    api = apis.Api(settings.api_model, settings.api_url, settings.api_fsync, str(settings.folder))
    return {
        "mlflow": lambda: _mlflow(settings),
        "prefect": lambda: _prefect(settings),
        "site": lambda: _site(settings),
        "api": lambda: _api(settings, api),
        "cpu": lambda: _worker(settings, "cpu"),
        "gpu": lambda: _worker(settings, "gpu"),
    }


def database_url(settings: Settings, database: str) -> str:
    """URL of the database of MLflow or Prefect, on the server that holds ours."""
    if not settings.evergreen:
        return settings.embedded_url("evergreen", database)
    return postgres_server.on_database(settings.evergreen, database)


def main(name: str) -> None:
    """Become the program. The supervisor gives the stack's settings as variables."""
    # Servers read .env, prefect.toml and pyproject.toml of their folder: not those of the clone that started them.
    home = Path(os.environ["EVERGREEN_HOME"])
    settings = Settings.load_from(home, os.environ)
    processes.end([left for left in processes.belonging_to(home, {name}) if left.pid != os.getpid()])
    become(programs(settings)[name], settings)


def become(program: Program, settings: Settings) -> None:
    """Wait for what the program needs, and be it from then on."""
    while not program.needs():
        time.sleep(0.3)
    program.before()
    arguments = program.arguments()
    os.chdir(settings.home)
    os.execvpe(arguments[0], arguments, _environment(program, settings))


def _environment(program: Program, settings: Settings) -> dict[str, str]:
    """What the program sees: the supervisor's variables, without those of one clone, and its own.

    A worker in a container serves one clone, whose variables are the container's.
    """
    removed = () if program.group == "workers" and settings.listen != LOCAL else NOT_PASSED_ON
    kept = {name: value for name, value in os.environ.items() if name not in removed and not name.startswith("SUPERVISOR_")}
    local = ",".join(filter(None, (kept.get("NO_PROXY"), "127.0.0.1", "localhost")))
    credentials = settings.credentials() if program.group != "postgres" else {}
    return kept | QUIET | {"NO_PROXY": local, "no_proxy": local} | credentials | dict(program.variables())


def _postgres(settings: Settings) -> Program:
    data, port = settings.home / "postgres", settings.postgres_port
    return Program(
        name="postgres",
        group="postgres",
        arguments=lambda: postgres_server.command(data, port),
        before=lambda: postgres_server.forget_stale_pid(data),
        ready=lambda _start: postgres_server.answers(settings.embedded_url("postgres", "postgres")),
        port=port,
        setting="EVERGREEN_POSTGRES_PORT",
        address=f"127.0.0.1:{port}",
    )


def _mlflow(settings: Settings) -> Program:
    port = port_of(settings.mlflow_tracking_uri)
    options = ["--host", settings.listen, "--port", str(port), "--workers", "1", "--artifacts-destination", settings.artifacts]
    if settings.mlflow_auth:
        options += ["--app-name", "basic-auth"]
    return Program(
        name="mlflow",
        group="servers",
        arguments=lambda: [sys.executable, "-m", "mlflow", "server", *options],
        variables=lambda: {
            "MLFLOW_BACKEND_STORE_URI": database_url(settings, "mlflow"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **_mlflow_auth(settings),
        },
        needs=lambda: postgres_server.answers(database_url(settings, "mlflow")),
        ready=lambda _start: pools.succeeds(f"{settings.mlflow_tracking_uri}/health"),
        port=port,
        setting="MLFLOW_TRACKING_URI",
        address=settings.mlflow_tracking_uri,
    )


def _mlflow_auth(settings: Settings) -> dict[str, str]:
    """Variables of MLflow's sign-on, whose users are in the database of its runs; a new user may only read."""
    if not settings.mlflow_auth:
        return {}
    user, _, password = settings.mlflow_auth.partition(":")
    url = database_url(settings, "mlflow").replace("%", "%%")
    file = settings.home / "mlflow" / "auth.ini"
    file.parent.mkdir(parents=True, exist_ok=True)
    postgres_server.write_secret(file, f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {url}\n")
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(file),
        "MLFLOW_AUTH_ADMIN_USERNAME": user,
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": settings.mlflow_secret_key,
    }


def _prefect(settings: Settings) -> Program:
    port = port_of(settings.prefect_api_url)
    folder = settings.home / "prefect"
    options = ["--host", settings.listen, "--port", str(port)]
    return Program(
        name="prefect",
        group="servers",
        arguments=lambda: [sys.executable, "-m", "prefect", "server", "start", *options],
        variables=lambda: {
            "PREFECT_HOME": str(folder),
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": _for_asyncpg(database_url(settings, "prefect")),
            **RETENTION,
            "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder / "ui"),  # else it writes into the installed package
            **({"PREFECT_SERVER_API_AUTH_STRING": settings.prefect_auth} if settings.prefect_auth else {}),
            # a browser does not know the name of a container
            **({"PREFECT_SERVER_UI_API_URL": "/api"} if settings.listen != LOCAL else {}),
        },
        needs=lambda: postgres_server.answers(database_url(settings, "prefect")),
        ready=lambda _start: pools.succeeds(f"{settings.prefect_api_url}/health"),
        port=port,
        setting="PREFECT_API_URL",
        address=settings.prefect_api_url.removesuffix("/api"),
    )


def _site(settings: Settings) -> Program:
    port = port_of(settings.site_url)
    code = Path(__file__).resolve().parents[2]
    options = ["--factory", "--app-dir", str(code), "--host", settings.listen, "--port", str(port), "--log-level", "warning"]
    return Program(
        name="site",
        group="servers",
        arguments=lambda: [sys.executable, "-m", "uvicorn", "infra.stack.site:app", *options],
        ready=lambda _start: pools.succeeds(f"{settings.site_url}/", settings.site_auth),
        port=port,
        setting="EVERGREEN_SITE_URL",
        address=settings.site_url,
    )


def _api(settings: Settings, served: apis.Api) -> Program:
    url = settings.scorer or settings.evergreen  # of the embedded Postgres it finds the password itself
    return Program(
        name=served.program,
        group=served.program,
        arguments=lambda: [sys.executable, "-m", "serving"],
        plain={
            "EVERGREEN_API_MODEL": served.model,
            "EVERGREEN_API_URL": served.url,
            "EVERGREEN_API_FSYNC": str(served.fsync).lower(),
        },
        variables=lambda: {
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
            **({"EVERGREEN_URL": url} if url else {}),
        },
        ready=lambda _start: pools.succeeds(f"{served.url}/health"),
        port=port_of(served.url),
        setting="EVERGREEN_API_URL",
        address=served.url,
    )


def _worker(settings: Settings, pool: str) -> Program:
    """A worker. It is ready when its heartbeat is fresh, and starts when the pool is there."""
    name, limit = f"{pool}-{'1' if settings.listen == LOCAL else socket.gethostname()}", pools.LIMITS[pool] or CPU_RUNS
    options = ["--pool", pool, "--type", "process", "--name", name, "--limit", str(limit)]
    return Program(
        name=name,
        group="workers",
        arguments=lambda: [sys.executable, "-m", "prefect", "worker", "start", *options],
        variables=lambda: {
            "PREFECT_HOME": str(settings.home / "prefect"),
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "5",  # flows take a worker for gone that missed four
            "PREFECT_WORKER_QUERY_SECONDS": "2",  # a stage that is handed over waits for half of this
        },
        needs=lambda: pools.exists(settings, pool),
        before=lambda: pools.crash_runs_of(settings, name, "The worker that ran this was killed or restarted. Run it again."),
        ready=lambda start: _is_heard(settings, pool, start),
        address=f"pool {pool}",
    )


def _is_heard(settings: Settings, pool: str, since: float) -> bool:
    age = pools.heartbeat_age(settings, pool, since)
    return age is not None and age < FRESH_SECONDS


def port_of(url: str) -> int:
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _for_asyncpg(url: str) -> str:
    """The same database for Prefect, whose driver calls `sslmode` `ssl`."""
    return url.replace("postgresql+psycopg://", "postgresql+asyncpg://", 1).replace("sslmode=", "ssl=")


if __name__ == "__main__":
    main(sys.argv[1])
