"""The tables of schema `evergreen`: their migrations, which live in sql/schema/, and locks named by a text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg
    from alembic.config import Config
    from alembic.script import ScriptDirectory

FOLDER = Path(__file__).resolve().parents[2] / "sql" / "schema"


def migrate(url: str) -> list[str]:
    """Bring the schema to this code's newest revision, in one transaction; two at once take turns.

    Returns:
        The revisions applied, oldest first; empty when there was nothing to do.

    Raises:
        EvergreenError: a newer version of Evergreen wrote this store, or the database refuses.
    """
    from alembic import command

    with postgres.connect(url) as connection, _alchemy(connection) as alchemy:
        connection.execute("select pg_advisory_xact_lock(hashtextextended('evergreen/migrate', 0))")
        pending = _pending(connection)
        if pending and not _exists(connection, "select to_regnamespace('evergreen')"):
            connection.execute("create schema evergreen")
        if pending:
            command.upgrade(_config(alchemy), "head")
    return pending


def pending_migrations(url: str) -> list[str]:
    """Revisions of this code that the store has not seen, oldest first.

    Raises:
        EvergreenError: a newer version of Evergreen wrote this store.
    """
    with postgres.connect(url) as connection:
        return _pending(connection)


def query(connection: psycopg.Connection, statement: str, /, **values: Any) -> list[dict[str, Any]]:
    """Rows of a statement in sql/schema/queries/, as mappings from column to value.

    Their placeholders are psycopg's own, `%(name)s`, bound by the server: unlike a dataset's, none is streamed by COPY.
    """
    cursor = connection.execute((FOLDER / "queries" / f"{statement}.sql").read_text(encoding="utf-8"), values)
    names = [column.name for column in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor]


@contextmanager
def locked(url: str, name: str, refusal: str) -> Iterator[Callable[[], bool]]:
    """Hold a lock of this name, or refuse at once. It ends with the session, however that ends.

    Gives a function that tells whether the session, and with it the lock, still lives.

    The server probes the holder's machine, so that one that vanished without a word is noticed in about 25 s;
    a process that is killed closes its socket and is noticed at once.

    Raises:
        EvergreenError: somebody holds it: `refusal`, and since when.
    """
    with postgres.connect(url) as connection:
        row = connection.execute("select pg_try_advisory_lock(hashtextextended(%s, 0))", [name]).fetchone()
        if row is None or not row[0]:
            holders = query(connection, "lock_holder", name=name)
            since = "".join(map(_since, holders))
            raise EvergreenError(f"{refusal}{since}. Wait for it, or cancel it in Prefect, then try again.")
        connection.execute("set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3")
        connection.execute("set idle_session_timeout = 0")
        connection.commit()  # the lock is the session's: no transaction stays open for hours
        try:
            yield lambda: postgres.lives(connection)
        finally:
            if postgres.lives(connection):  # the end of a session is heard of a moment later, when the next one has asked
                connection.execute("select pg_advisory_unlock(hashtextextended(%s, 0))", [name])


def _since(holder: dict[str, Any]) -> str:
    """The server tells a role when sessions of its own began, and not those of others."""
    began = f", since {holder['backend_start']:%Y-%m-%d %H:%M:%S} UTC" if holder["backend_start"] else ""
    return f" (by {holder['application_name']}{began})"


def _pending(connection: psycopg.Connection) -> list[str]:
    script = _script()
    at = None
    if _exists(connection, "select to_regclass('evergreen.alembic_version')"):
        row = connection.execute("select version_num from evergreen.alembic_version").fetchone()
        at = row[0] if row else None
    revisions = {revision.revision for revision in script.walk_revisions()}
    if at is not None and at not in revisions:
        raise EvergreenError(
            f"Schema evergreen is at revision {at}, which this code does not know (its newest is {script.get_current_head()}): "
            "a newer version of Evergreen wrote this store. Update this clone, or restore a backup from before."
        )
    return [revision.revision for revision in script.iterate_revisions("head", at or "base")][::-1]


def _exists(connection: psycopg.Connection, lookup: str) -> bool:
    row = connection.execute(lookup).fetchone()
    return row is not None and row[0] is not None


def _config(alchemy: Any = None) -> Config:
    from alembic.config import Config

    config = Config(attributes={"connection": alchemy})
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _script() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


@contextmanager
def _alchemy(connection: psycopg.Connection) -> Iterator[Any]:
    """The same connection and transaction, as SQLAlchemy's. Enter it first: SQLAlchemy begins with a rollback."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
    try:
        with engine.connect() as alchemy:
            yield alchemy
            alchemy.commit()
    except DBAPIError as error:
        raise (error.orig or error) from None  # psycopg's, which the database door explains
