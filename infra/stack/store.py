"""The one folder a stack writes to: its version, its passwords, its lock, its logs."""

from __future__ import annotations

import fcntl
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from dotenv import dotenv_values

from infra.stack.postgres_server import LATER, ROLES, write_secret
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres

PASSWORD = "_PASSWORD"  # what the name of one ends with in the secrets file
VERSION = 1  # raise it when an older Evergreen could not read what this one writes below home


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Whoever else starts or stops this stack waits: several clones may share it."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_version(home: Path) -> None:
    """Refuse a store that a newer Evergreen wrote.

    Raises:
        EvergreenError
    """
    file = home / "version"
    written = file.read_text().strip() if file.exists() else ""
    if written.isdigit() and int(written) > VERSION:
        raise EvergreenError(
            f"The store in {home} has version {written}, and this Evergreen knows up to {VERSION}: a newer one wrote it. "
            "Update this clone (git pull, then make setup), or set EVERGREEN_HOME in .env to another folder."
        )


def stamp(home: Path) -> None:
    """Say whose folder this is, to later versions and to git: wherever it lies, its passwords are not to be committed."""
    (home / "version").write_text(f"{VERSION}\n")
    if not (home / ".gitignore").exists():
        (home / ".gitignore").write_text("*\n")


def passwords(settings: Settings) -> dict[str, str]:
    """The password of each role of the embedded Postgres, generated the first time; those of roles that an earlier version
    did not have are added.

    Raises:
        EvergreenError: databases are there and their passwords are not.
    """
    stored = read_passwords(settings)
    if all(stored.get(role) for role in ROLES) or not settings.embeds_postgres:
        return stored
    if (settings.home / "postgres").exists() and not all(stored.get(role) for role in ROLES if role not in LATER):
        raise EvergreenError(
            f"{settings.secrets_file} lacks passwords of the databases in {settings.home / 'postgres'}: restore that file "
            "from a backup, or remove both to start with empty databases."
        )
    made = {role: stored.get(role) or secrets.token_urlsafe(24) for role in ROLES}
    add_secrets(settings, {f"{role.upper()}{PASSWORD}": password for role, password in made.items()})
    return made


def add_auth(settings: Settings) -> None:
    """The password of the stack's own servers and MLflow's secret key, generated where they are missing."""
    missing = {"AUTH_PASSWORD", "MLFLOW_SECRET_KEY"} - read_secrets(settings).keys()
    if settings.auth and missing:
        add_secrets(settings, {name: secrets.token_urlsafe(24) for name in sorted(missing)})


def read_passwords(settings: Settings) -> dict[str, str]:
    """The passwords in the secrets file, by role; empty without one."""
    stored = read_secrets(settings)
    return {name.removesuffix(PASSWORD).lower(): value for name, value in stored.items() if name.endswith(PASSWORD)}


def read_secrets(settings: Settings) -> dict[str, str]:
    """What the secrets file holds, by name; empty without one."""
    values = dotenv_values(settings.secrets_file) if settings.secrets_file.exists() else {}
    return {name: value for name, value in values.items() if value}


def add_secrets(settings: Settings, new: Mapping[str, str]) -> None:
    """Put values into the secrets file, beside those it has; whole or not at all, and nobody but its owner can read it."""
    draft = settings.secrets_file.with_suffix(".new")
    kept = read_secrets(settings) | dict(new)
    write_secret(draft, "".join(f"{name}='{value}'\n" for name, value in kept.items()))
    draft.rename(settings.secrets_file)


def log_file(settings: Settings, program: str) -> Path:
    return settings.home / "logs" / f"{program}.log"


def log_tail(settings: Settings, program: str, lines: int = 15) -> str:
    """The last lines of a program's log, with every secret blotted out."""
    file = log_file(settings, program)
    text = "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) if file.exists() else "(no log yet)"
    for secret in read_secrets(settings).values():
        text = postgres.redacted(text, secret)
    return text
