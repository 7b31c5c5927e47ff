"""The source's rows in the scratch database, as they were known on any day up to the newest one copied.

Each table lies there once, with the moment at which a row became known. Under the table's own name stands a view that shows
what was known by its cut, a setting of the session: going to another day copies nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import TYPE_CHECKING

from cli.check_sql import clock
from cli.check_sql.available_at import Known
from cli.check_sql.relations import OURS, Reading, Relation
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

KNOWN = "evergreen known"  # of a row; of a column: the same and its name
INDEXES = """
    select
        array(select pg_get_indexdef(indexrelid, n, false) from generate_series(1, indnkeyatts) as n),
        pg_get_expr(indpred, indrelid)
    from pg_index
    inner join pg_class as class on class.oid = indexrelid
    inner join pg_am as method on method.oid = class.relam
    where indrelid = %s and method.amname = 'btree' and indisvalid"""


class History:
    """The tables of one reading, copied."""

    def __init__(
        self, scratch: psycopg.Connection, source: psycopg.Connection, reading: Reading, known: Mapping[str, Known]
    ) -> None:
        self._scratch, self._source, self._known = scratch, source, known
        self._relations, self._tables = reading.relations, reading.tables
        self._read = reading.columns
        self._through: date | None = None
        self._complete = False

    @property
    def dated(self) -> list[str]:
        """Titles of the tables that have a date."""
        return [table.title for table in self._tables if self._known[table.title].available_at]

    def corrects(self, title: str) -> bool:
        return self._known[title].corrects is not None

    @property
    def asks_clock(self) -> bool:
        """Whether a view that is read asks what day it is."""
        return any(clock.asked(relation.definition) for relation in self._relations)

    def count(self, through: date) -> dict[str, int]:
        """Rows by table, known by the end of a day."""
        return {
            table.title: self._source.execute(f"select count(*) {self._rows(table, through)}").fetchone()[0]
            for table in self._tables
        }

    def copy(self, through: date) -> None:
        """Copy what was known by the end of a day, and show it under the source's own names."""
        for table in self._tables:
            self._scratch.execute(f"drop table {table.quoted} cascade")
        for number, one in enumerate(self._tables):
            self._make(number, one)
            self._fill(number, one, self._rows(one, through))
            self._index(number, one)
            self._scratch.execute(f"analyze {self._raw(number)}")
        self._through = through
        self.cut(through)
        self.show()

    def complete(self, most_rows: int | None) -> bool:
        """Copy the rest as well, if it is not more than some rows: who is to blame is found by giving back one table's."""
        if self._complete:
            return True
        rest = {
            number: self._rows(one, self._through, later=True)
            for number, one in enumerate(self._tables)
            if self._known[one.title].available_at
        }
        counts = [self._source.execute(f"select count(*) {rows}").fetchone()[0] for rows in rest.values()]
        if most_rows is not None and sum(counts) > most_rows:
            return False
        for number, rows in rest.items():
            self._fill(number, self._tables[number], rows)
        self._complete = True
        return True

    def cut(self, day: date, but: Mapping[str, date | None] | None = None) -> None:
        """Show what was known by the end of a day; of some tables by another one, or, for None, all there is."""
        for number, one in enumerate(self._tables):
            of_table = (but or {}).get(one.title, day)
            moment = "infinity" if of_table is None else f"{of_table} 23:59:59.999999"
            self._scratch.execute("select set_config(%s, %s, false)", (f"{OURS}.cut_{number}", moment))

    def show(self, today: date | None = None) -> None:
        """Define the views; with `today`, as if they were read on that day."""
        for relation in reversed(self._relations):
            self._scratch.execute(f"drop view if exists {relation.quoted} cascade")
        for relation in self._relations:
            if relation.definition:
                text = clock.stopped(relation.definition, today) if today else relation.definition
                self._scratch.execute(f"create view {relation.quoted} as {text}")
            else:
                self._scratch.execute(f"create view {relation.quoted} as {self._view(relation)}")

    def _view(self, table: Relation) -> str:
        number = self._tables.index(table)
        known, seen = self._known[table.title], self._read[table.title]
        shown = f"<= current_setting('{OURS}.cut_{number}')::timestamp"
        columns = []
        for column in table.columns:
            name = postgres.identifier(column.name)
            if column.name not in seen:
                columns.append(f"null::{column.type} as {name}")
            elif column.name in known.columns:
                columns.append(f"case when {_moment_of(column.name)} {shown} then {name} end as {name}")
            else:
                columns.append(name)
        where = f" where {postgres.identifier(KNOWN)} {shown}" if known.available_at else ""
        return f"select {', '.join(columns)} from {self._raw(number)}{where}"

    def _raw(self, number: int) -> str:
        return f"{OURS}.table_{number}"

    def _copied(self, table: Relation) -> list[str]:
        return [column.name for column in table.columns if column.name in self._read[table.title]]

    def _make(self, number: int, table: Relation) -> None:
        types = {column.name: column.type for column in table.columns}
        columns = [f"{postgres.identifier(name)} {types[name]}" for name in self._copied(table)]
        columns += [f"{name} timestamp" for name in self._moments(table)] or ([] if columns else ["nothing int"])
        self._scratch.execute(f"create unlogged table {self._raw(number)} ({', '.join(columns)})")

    def _fill(self, number: int, table: Relation, rows: str) -> None:
        """Stream rows as Postgres sends them: both ends have the same types."""
        values = [postgres.identifier(name) for name in self._copied(table)]
        values += [f"coalesce({_timestamp(moment)}, 'infinity')" for moment in self._moments(table).values()]
        statement = f"copy (select {', '.join(values) or '1'} {rows}) to stdout (format binary)"
        stream(self._source, statement, self._scratch, self._raw(number))

    def _moments(self, table: Relation) -> dict[str, str]:
        """Our column -> the expression over the source's columns that fills it."""
        known = self._known[table.title]
        if not known.available_at:
            return {}
        later = {_moment_of(name): day for name, day in known.columns.items() if name in self._read[table.title]}
        return {
            name: _expression(table, day) for name, day in ({postgres.identifier(KNOWN): known.available_at} | later).items()
        }

    def _rows(self, table: Relation, through: date | None, *, later: bool = False) -> str:
        known = self._known[table.title]
        if not known.available_at or through is None:
            return f"from {table.quoted}"
        moment, end = _timestamp(_expression(table, known.available_at)), postgres.literal(str(through + timedelta(days=1)))
        condition = f"{moment} < timestamp {end}"
        return f"from {table.quoted} where {f'({condition}) is not true' if later else condition}"

    def _index(self, number: int, table: Relation) -> None:
        """The source's indexes, which cost nothing but time where they cannot be made."""
        import psycopg

        for columns, condition in self._source.execute(INDEXES, (table.oid,)).fetchall():
            where = f" where {condition}" if condition else ""
            try:
                self._scratch.execute(f"create index on {self._raw(number)} ({', '.join(columns)}){where}")
            except psycopg.Error:
                continue  # of a column that nothing reads


def check(source: psycopg.Connection, reading: Reading, known: Mapping[str, Known], where: str) -> None:
    """Every table says when its rows became known.

    Raises:
        EvergreenError: a table does not, or names something that is no date, or may not be read; with what to write.
    """
    import psycopg

    for table in reading.tables:
        if table.title not in known:
            dates = ", ".join(column.name for column in table.columns if column.is_date) or "none"
            raise EvergreenError(
                f"{where} says nothing of {table.title}. Write when a row of it became known: `{table.title}: COLUMN`; "
                f"its dates and timestamps: {dates}. Or, if it was always known, why: `{table.title}: {{timeless: WHY}}`."
            )
        if not source.execute("select has_table_privilege(%s::oid, 'select')", (table.oid,)).fetchone()[0]:
            raise EvergreenError(
                f"SOURCE_URL's role may not read {table.title}, which a view of the query reads. Name the view itself in "
                f"{where}, and it is copied like a table; or grant select on the table."
            )
        names = {column.name for column in table.columns}
        if unknown := sorted(set(known[table.title].columns) - names):
            raise EvergreenError(f"{where}: {table.title} has no column {', '.join(unknown)}.")
        for day in filter(None, (known[table.title].available_at, *known[table.title].columns.values())):
            try:
                with source.transaction():
                    source.execute(f"select {_timestamp(_expression(table, day))} from {table.quoted} limit 0")
            except psycopg.Error as error:
                raise EvergreenError(
                    f"{where}: {table.title}: {day!r} is neither a date or timestamp of the table, nor an expression that "
                    f"gives one: {error.diag.message_primary}."
                ) from None


def stream(source: psycopg.Connection, statement: str, target: psycopg.Connection, table: str) -> None:
    """The bytes of a COPY TO as those of a COPY FROM, block by block."""
    with (
        source.cursor().copy(statement) as rows,
        target.cursor().copy(f"copy {table} from stdin (format binary)") as written,
    ):
        for block in rows:
            written.write(block)


def _moment_of(column: str) -> str:
    return postgres.identifier(f"{KNOWN} {column}")


def _timestamp(expression: str) -> str:
    return f"({expression})::timestamp"


def _expression(table: Relation, day: str) -> str:
    """A column by its name, however odd; anything else is SQL."""
    return postgres.identifier(day) if day in {column.name for column in table.columns} else day
