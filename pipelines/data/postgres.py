"""The one door to Postgres: connections that end, queries from files with bound values, and streams.

SQL is read from files with `:name` placeholders. Values are bound by psycopg, client-side, because COPY, by
which rows are streamed, takes no server-side parameters.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from pipelines.config.errors import EvergreenError, TransientError

if TYPE_CHECKING:
    import psycopg
    import pyarrow as pa

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_S = 900  # a training query over years of history; a hung server is noticed by keepalives sooner
LOCK_TIMEOUT_S = 30
BATCH_BYTES = 4 * 2**20
QUOTED = r"'(?:[^']|'')*'|\"[^\"]*\""
# a name or a text may hold a colon, and `::` is a cast
PLACEHOLDER = re.compile(rf"({QUOTED}|::)|(?<!\w):([A-Za-z_]\w*)")
MARK = re.compile(r"/\* (.+?) line (\d+) \*/")  # at the start of a bound statement: its file, and the line it begins at
LONG_SECRET = 12  # a shorter password may be a word that messages hold anyway

_work = "evergreen"


# What a session's text of dates, numbers and bytes depends on, and what a name without a schema means. It is set after
# connecting: libpq's environment (PGTZ, PGDATESTYLE), options in the URL and a role's own settings would win otherwise.
SESSION = {
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "extra_float_digits": "1",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "search_path": '"$user", public',
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "xmlbinary": "base64",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
}


@contextmanager
def connect(url: str, *, statement_timeout_s: int = STATEMENT_TIMEOUT_S, timezone: str = "UTC") -> Iterator[psycopg.Connection]:
    """A connection that commits when the block succeeds, and is closed in any case; its session is SESSION's.

    Args:
        url: as SQLAlchemy writes it, `postgresql+psycopg://...`.
        timezone: whose days a moment falls into, where SQL makes a day of it: data.timezone for queries of the source.

    Raises:
        EvergreenError: the server is out of reach, refuses, ends the connection, or has no such table or column.
    """
    import psycopg

    try:
        arguments = _arguments(url, statement_timeout_s)
        with psycopg.connect(**arguments, autocommit=True, cursor_factory=_cursor()) as connection:
            connection.execute(_session(timezone))
            connection.autocommit = False
            yield connection
    except psycopg.Error as error:
        raise _explained(url, error, getattr(error, "statement", "")) from None


@functools.cache
def _cursor() -> type[psycopg.Cursor]:
    """A cursor whose errors hold the statement, from which _explained reads the file."""
    import psycopg

    class Cursor(psycopg.Cursor):
        def execute(self, query: Any, *arguments: Any, **options: Any) -> Any:
            try:
                return super().execute(query, *arguments, **options)
            except psycopg.Error as error:
                error.statement = query if isinstance(query, str) else ""  # type: ignore[attr-defined]
                raise

    return Cursor


def lives(connection: psycopg.Connection) -> bool:
    """Whether the session of a connection still exists on the server, and with it what the session holds."""
    import psycopg

    try:
        connection.execute("select 1")
        connection.commit()
    except psycopg.OperationalError:
        return False
    return True


def bind(query: Path, values: Mapping[str, Any]) -> str:
    """The statement in a file with its `:name` placeholders replaced by quoted literals.

    Raises:
        EvergreenError: the file is missing or names a value that is not bound.
    """
    try:
        statement = query.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise EvergreenError(f"{query} is missing: a dataset has this file (data.dataset in params.yaml).") from None
    return bind_text(statement, values, "/".join(query.parts[-3:]))  # as in sql/churn/training_set.sql


def bind_text(statement: str, values: Mapping[str, Any], where: str) -> str:
    """A statement with its placeholders replaced, and without its comments; errors as of `bind`, about `where`.

    It begins with a comment that says `where` and its first line: the server shows it, and errors name file and line by it.
    """
    bare = without_comments(statement)
    if unknown := sorted(placeholders(bare) - set(values)):
        raise EvergreenError(f"{where}: nothing binds :{', :'.join(unknown)}. Known: :{', :'.join(values)}.")
    kept = _blanked(statement)
    line = 1 + kept[: len(kept) - len(kept.lstrip())].count("\n")
    bound = PLACEHOLDER.sub(lambda found: literal(values[found[2]]) if found[2] else found[0], bare)
    return f"/* {where.replace('*/', '')} line {line} */ {bound}"


def placeholders(statement: str) -> set[str]:
    """Names that a statement without comments is to be bound; one that stands in quotes, or in a cast, is none."""
    return {name for _, name in PLACEHOLDER.findall(statement) if name}


def identifier(*names: str) -> str:
    """A table's or column's name, quoted: it may hold anything."""
    from psycopg import sql

    return sql.Identifier(*names).as_string(None)


def literal(value: Any) -> str:
    """A value, quoted. That of a text has no type yet: beside a column it takes the column's."""
    from psycopg import sql

    return sql.Literal(value).as_string(None)


class Snapshot:
    """One REPEATABLE READ READ ONLY transaction: every query in it sees the same rows."""

    def __init__(self, url: str, connection: Any) -> None:
        self._url, self._connection = url, connection

    def value(self, statement: str) -> Any:
        """The one value of a statement that gives one row of one column."""
        with self._executed(statement) as cursor:
            rows = cursor.fetchall()
        if len(rows) != 1 or len(rows[0]) != 1:
            raise EvergreenError(f"Expected one row of one column, found {len(rows)} rows: {statement[:200]}")
        return rows[0][0]

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """All rows of a statement, which are few."""
        with self._executed(statement) as cursor:
            return cursor.fetchall()

    def row(self, statement: str) -> tuple[Any, ...]:
        """The first row of a statement."""
        with self._executed(statement) as cursor:
            return cursor.fetchone()

    @contextmanager
    def batches(self, statement: str, order_by: Sequence[str] = ()) -> Iterator[pa.RecordBatchReader]:
        """Rows as Arrow batches of about 4 MB, by COPY: integers keep their width, NULL integers stay integers.

        Types that Arrow has no exact match for leave Postgres as float8 (numeric) or text (all others).
        """
        with self._executed(f"{self._castable(statement, order_by)}") as cursor, cursor.fetch_record_batch() as reader:
            yield reader

    @contextmanager
    def _executed(self, statement: str) -> Iterator[Any]:
        import adbc_driver_manager.dbapi as dbapi

        try:
            with self._connection.cursor() as cursor:
                cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)})
                cursor.execute(statement)
                yield cursor
        except (dbapi.Error, OSError) as error:  # a connection that ends in mid-stream is an OSError of Arrow's
            raise _explained(self._url, error, statement) from None

    def _castable(self, statement: str, order_by: Sequence[str]) -> str:
        with self._executed(f"select * from ({statement}) as described limit 0") as cursor:
            schema = cursor.fetch_arrow_table().schema
        doubled = sorted({name for name in schema.names if schema.names.count(name) > 1})
        if doubled:
            raise EvergreenError(f"The query returns two columns named {', '.join(doubled)}: rename one.")
        columns = [f"{identifier(field.name)}{_cast(field)} as {identifier(field.name)}" for field in schema]
        # of the source's columns, in their own types: by their bare names it would be of the cast ones
        order = f" order by {', '.join(identifier('source', name) for name in order_by)}" if order_by else ""
        return f"select {', '.join(columns)} from ({statement}) as source{order}"


@contextmanager
def snapshot(url: str, timezone: str = "UTC") -> Iterator[Snapshot]:
    """A read-only snapshot of the source, in a session as of `connect`; ends, reading nothing more, with the block."""
    import adbc_driver_manager.dbapi as dbapi
    import adbc_driver_postgresql.dbapi as driver

    arguments = _arguments(url, STATEMENT_TIMEOUT_S)
    uri = arguments.pop("conninfo")
    query = urlencode(arguments, quote_via=quote)
    try:
        connection = driver.connect(f"{uri}{'&' if '?' in uri else '?'}{query}", autocommit=True)
    except dbapi.Error as error:
        raise _explained(url, error) from None
    with connection:
        opened = Snapshot(url, connection)
        opened.row(_session(timezone))
        connection.adbc_connection.set_autocommit(False)
        with opened._executed("set transaction isolation level repeatable read read only"):
            pass
        yield opened


def _session(timezone: str) -> str:
    """One statement that makes a session ours; it is for the session, so no transaction may be open that could roll back."""
    settings = {**SESSION, "timezone": timezone}
    return "select " + ", ".join(
        f"pg_catalog.set_config({literal(name)}, {literal(value)}, false)" for name, value in settings.items()
    )


def _cast(field: pa.Field) -> str:
    """The driver gives numeric, uuid, json, enum and the like as extension types."""
    import pyarrow as pa

    if not isinstance(field.type, pa.BaseExtensionType):
        return ""
    return "::float8" if (field.metadata or {}).get(b"POSTGRESQL:type") == b"numeric" else "::text"


def without_comments(statement: str) -> str:
    """A statement alone: comments may hold colons that mean nothing. What looks like a comment within quotes is kept."""
    return _blanked(statement).strip().rstrip("; \n")


def _blanked(statement: str) -> str:
    """A statement with spaces for its comments, line by line."""

    def blank(found: re.Match[str]) -> str:
        return found[1] or "\n" * found[0].count("\n") or " "

    return re.sub(rf"({QUOTED})|--[^\n]*|/\*.*?\*/", blank, statement, flags=re.DOTALL)


def work_as(name: str) -> None:
    """Let the sessions that this process opens from now on say whose they are: the server shows it (pg_stat_activity)."""
    global _work
    _work = name.encode("ascii", "replace").decode()[:63]  # as Postgres keeps it


def _arguments(url: str, statement_timeout_s: int) -> dict[str, Any]:
    return {
        "conninfo": url.replace("postgresql+psycopg://", "postgresql://", 1),
        "connect_timeout": CONNECT_TIMEOUT_S,
        "application_name": _work,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 30_000,
        "options": f"-c statement_timeout={statement_timeout_s * 1000} -c lock_timeout={LOCK_TIMEOUT_S * 1000}",
    }


def _explained(url: str, error: Exception, statement: str = "") -> EvergreenError:
    """What the server said, where, and what to do; without the password, and without DETAIL, which quotes rows."""
    parts = urlsplit(url)
    where = f"Postgres at {parts.hostname}:{parts.port or 5432}{parts.path}{_in_file(statement, error)}"
    said = redacted(_words(error), parts.password or "")
    state = getattr(error, "sqlstate", None)
    if state in {"42P01", "42703", "3F000"} and re.search(r'"evergreen[".]', said):  # our own tables
        return EvergreenError(f"{where}: {said} Run `evergreen up`, which brings our own tables up to date.")
    for sqlstates, words, advice in ADVICE:
        if state in sqlstates or any(word in said for word in words):
            return EvergreenError(f"{where}: {said} {advice}")
    # in mid-stream the driver gives no SQLSTATE: an ERROR is of the query, anything else of the connection
    lost = (
        "ERROR: " not in str(error) or "conflict with recovery" in said
        if state is None
        else state[:2] in {"08", "40", "53", "57"}
    )
    if lost:
        return TransientError(f"{where}: {said} Check that it runs (`evergreen status`) and try again: nothing was changed.")
    return EvergreenError(f"{where}: {said} Check the query and the source's tables.")


def redacted(said: str, password: str) -> str:
    """A message without a password: where a URL or a connection string has it, in libpq's quotes of what it cannot read, and,
    where it is long, wherever it stands."""
    for secret in filter(None, {password, unquote(password)}):
        word = re.escape(secret)
        places = [rf"(?<=:){word}(?=@)", rf"(?<=password=){word}\b", rf"(?<=percent-encoded token: \"){word}(?=\")"]
        places += [rf"(?<=percent-encoded value: \"){word}(?=\")"]
        places += [word] if len(secret) >= LONG_SECRET else []
        said = re.sub("|".join(places), "***", said)
    return said


def _in_file(statement: str, error: Exception) -> str:
    """Such as ", sql/churn/training_set.sql line 37": the file that a statement was bound from, the line where one is named."""
    said = re.search(r"^LINE (\d+):", str(error), re.MULTILINE)
    line = int(said[1]) if said else statement.count("\n") + 1
    marks = [(number, found) for number, text in enumerate(statement.split("\n")[:line], 1) for found in MARK.finditer(text)]
    if not marks:
        return ""
    number, found = marks[-1]
    return f", {found[1]}" + (f" line {int(found[2]) + line - number}" if said else "")


def _words(error: Exception) -> str:
    """The server's message in one line; libpq's own where the server said nothing."""
    diagnosis = getattr(error, "diag", None)
    if diagnosis is not None and diagnosis.message_primary:
        return diagnosis.message_primary.rstrip(".") + "."
    lines = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    said = re.sub(r" (LINE \d+: |Query was: |DETAIL: |CONTEXT: ).*", "", lines).removeprefix("IO: ")
    query = re.search(r"^LINE \d+: *(.+)$", str(error), re.MULTILINE)  # of the query: it names the column
    said = re.sub(r"^([A-Z_]+: )?(\[libpq\]|Failed to) .*?ERROR: +", "", said).rstrip(".")
    return f"{said} near `{query[1]}`." if query else said if said.endswith("?") else f"{said}."


# SQLSTATEs, words where the driver gives no SQLSTATE, and what to do
ADVICE = [
    ({"42703", "42P01"}, (), "The source no longer has what the query reads: compare sql/ with the source's tables."),
    (
        {"42883", "42804", "42846", "22P02"},
        ("invalid input syntax",),
        "A column has another type than the query takes: compare sql/ with the source's tables.",
    ),
    ({"42501"}, ("permission denied",), "Grant the role of this URL the right, such as SELECT on what the query reads."),
    (
        {"54000", "54011"},
        (),
        "A table of Postgres has at most 1,600 columns, and about 1,000 that are full of numbers: leave some out.",
    ),
    ({"2BP01"}, (), "Somebody has built on it: move or drop that first. Nothing was changed."),
    ({"57014"}, (), "The statement ran into its time limit: look for a lock or a missing index."),
    (
        set(),
        ("invalid value for parameter",),
        "Unset PGTZ, PGDATESTYLE and the like in this shell, or correct the role's settings.",
    ),
    ({"28P01", "28000"}, ("authentication failed",), "Check user and password in SOURCE_URL and EVERGREEN_URL (.env)."),
    ({"3D000"}, ('FATAL:  database "', "percent-encoded"), "Check the address in SOURCE_URL and EVERGREEN_URL (.env)."),
]
