"""A database of ours for the length of a check, on EVERGREEN_URL's server: never in the source, and always taken away."""

from __future__ import annotations

import secrets
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from infra.stack.postgres_server import on_database
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

PREFIX = "evergreen_check_"
LEFT_AFTER_S = 600  # one that nobody is connected to, and older: its command was killed
PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


@contextmanager
def database(settings: Settings, like: Mapping[str, Any], timezone: str) -> Iterator[psycopg.Connection]:
    """A connection to an empty database, in autocommit; dropped with the block, also after Ctrl-C.

    A schema would not do: the queries name the source's schemas, and ours may have some of the same name.

    Args:
        like: the source's row of pg_database. With its collation texts sort alike in both.
        timezone: of the session in which the queries run: data.timezone.

    Raises:
        EvergreenError: the role may not create databases; with the grant that it needs.
    """
    name = f"{PREFIX}{int(time.time())}_{secrets.token_hex(4)}"
    owner = unquote(urlsplit(settings.evergreen_url).username or "")
    # the embedded server's own role makes no databases, so its administrator does
    admin_url = settings.evergreen or settings.embedded_url("postgres", "postgres")
    try:
        with connected(admin_url) as admin:
            admin.autocommit = True
            _sweep(admin)
            _create(admin, name, owner, like)
        with connected(on_database(settings.evergreen_url, name), timezone) as scratch:
            scratch.autocommit = True
            yield scratch
    finally:
        with _undisturbed(), postgres.connect(admin_url) as admin:  # a new one: the first may have been interrupted
            admin.autocommit = True
            admin.execute(f"drop database if exists {name} with (force)")


def locale(source: psycopg.Connection) -> dict[str, Any]:
    """The row of pg_database of the connected database: its columns differ from version to version."""
    found = source.execute("select to_jsonb(d) - 'datacl' from pg_database as d where datname = current_database()")
    return found.fetchone()[0]


def _create(admin: psycopg.Connection, name: str, owner: str, like: Mapping[str, Any]) -> None:
    import psycopg

    provider = PROVIDERS.get(str(like.get("datlocprovider") or "c"), "libc")
    options = f"lc_collate {postgres.literal(like['datcollate'])} lc_ctype {postgres.literal(like['datctype'])}"
    if provider != "libc":
        named = like.get("datlocale") or like.get("daticulocale")
        options += f" locale_provider {provider} {provider}_locale {postgres.literal(named)}"
    statement = f"create database {name} owner {postgres.identifier(owner)} template template0 encoding 'UTF8'"
    try:
        try:
            admin.execute(f"{statement} {options}")
        except psycopg.errors.InsufficientPrivilege:
            raise
        except psycopg.Error:  # a collation that this server does not have: texts may sort otherwise
            admin.execute(statement)
        # it holds rows of the company's
        admin.execute(f"revoke connect, temporary on database {name} from public")
    except psycopg.errors.InsufficientPrivilege:
        raise EvergreenError(
            f"Role {owner!r} in EVERGREEN_URL may not create a scratch database, in which the check copies what was known. "
            f"Let an administrator of that server run: alter role {postgres.identifier(owner)} createdb;"
        ) from None


def _sweep(admin: psycopg.Connection) -> None:
    """Drop what a command left that could not end by itself (kill -9); what is in use is refused by Postgres."""
    import psycopg

    listed = admin.execute(
        "select datname from pg_database where starts_with(datname, %s) and pg_has_role(datdba, 'usage')", (PREFIX,)
    )
    for (name,) in listed.fetchall():
        stamp = name.removeprefix(PREFIX).split("_")[0]
        if stamp.isdigit() and int(stamp) < time.time() - LEFT_AFTER_S:
            with suppress(psycopg.Error):
                admin.execute(f"drop database if exists {postgres.identifier(name)}")


@contextmanager
def connected(url: str, timezone: str = "UTC") -> Iterator[psycopg.Connection]:
    """A connection that Ctrl-C finds whole: a server with one that is half open drops no database until that times out."""
    with ExitStack() as opened:
        with _undisturbed():
            connection = opened.enter_context(postgres.connect(url, timezone=timezone))
        yield connection


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM count once the block is through. Signals are the main thread's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {one: signal.signal(one, lambda number, _: caught.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        if caught:
            signal.raise_signal(caught[0])
