"""Databases as files, by the tools that come with the embedded PostgreSQL; they read any server that is not newer."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from infra.stack import postgres_server
from pipelines.config.errors import EvergreenError

OURS = "evergreen"  # the schema: that of Optuna, beside it, holds nothing that outlives a retraining


def dump(url: str, file: Path, schema: str | None = None) -> None:
    """One database, or one schema of it, as it is at one moment, whoever writes meanwhile.

    Raises:
        EvergreenError: the server does not answer, is newer than the tools, or refuses.
    """
    only = [f"--schema={schema}"] if schema else []
    _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", "--no-comments", f"--file={file}", *only)


def restore(url: str, file: Path) -> None:
    """What `dump` wrote, into a database that has nothing of it, all or nothing; it then belongs to the role of the URL.

    Raises:
        EvergreenError: the server does not answer, or refuses.
    """
    options = ["--no-owner", "--no-privileges", "--no-comments", "--exit-on-error", "--single-transaction"]
    _run("pg_restore", url, *options, str(file))


def _run(tool: str, url: str, *options: str) -> None:
    """The password goes by the environment, which nobody else can read, and not by the command line."""
    parts = urlsplit(url.replace("postgresql+psycopg://", "postgresql://", 1))
    address = parts.netloc.rpartition("@")[2]
    shown = urlunsplit(parts._replace(netloc=f"{parts.username}@{address}" if parts.username else address))
    secret = {"PGPASSWORD": unquote(parts.password)} if parts.password else {}
    done = subprocess.run(
        [str(postgres_server.binaries() / tool), f"--dbname={shown}", *options],
        env={**os.environ, **secret, "PGCONNECT_TIMEOUT": "10"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        errors = " ".join(line for line in done.stderr.splitlines() if "error:" in line or "detail:" in line) or done.stderr
        raise EvergreenError(f"{tool} of {address}{parts.path} failed: {errors.strip()[-600:]}")
