"""What a query reads of the source: its tables and views, and of each table the columns.

Nothing is guessed from the text. The query is made a view in the empty scratch database; whatever table Postgres then misses
is defined there as the source has it, until nothing is missing, and Postgres' own dependencies name the columns.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

OURS = "evergreen_check"  # the schema of our own tables in the scratch database
MOST = 300  # tables and views behind one query
PART = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
NAME = re.compile(rf"{PART}(?:\s*\.\s*{PART})*")
COLUMNS = """
    select
        attribute.attname,
        case type.typtype
            when 'd' then format_type(type.typbasetype, type.typtypmod)
            else format_type(attribute.atttypid, attribute.atttypmod)
        end as type,
        case
            when attribute.attcollation not in (0, type.typcollation)
                then format(' collate %%I.%%I', collation_schema.nspname, rule.collname)
            else ''
        end as collated,
        type.typcategory = 'D' as is_date,
        coalesce(element.oid, type.oid) as type_oid,
        coalesce(element.typtype, type.typtype) = 'e' as is_enum,
        type_schema.nspname = 'pg_catalog' or type.typtype = 'd' as is_plain
    from pg_attribute as attribute
    inner join pg_type as type on type.oid = attribute.atttypid
    left join pg_type as element on element.oid = type.typelem and type.typcategory = 'A'
    inner join pg_namespace as type_schema on type_schema.oid = coalesce(element.typnamespace, type.typnamespace)
    left join pg_collation as rule on rule.oid = attribute.attcollation
    left join pg_namespace as collation_schema on collation_schema.oid = rule.collnamespace
    where attribute.attrelid = %s and attribute.attnum > 0 and not attribute.attisdropped
    order by attribute.attnum"""
READ = """
    select distinct namespace.nspname, class.relname, attribute.attname
    from pg_depend as depend
    inner join pg_class as class on class.oid = depend.refobjid
    inner join pg_namespace as namespace on namespace.oid = class.relnamespace
    inner join pg_attribute as attribute on attribute.attrelid = class.oid and attribute.attnum = depend.refobjsubid
    where
        depend.classid = 'pg_rewrite'::regclass
        and depend.refclassid = 'pg_class'::regclass
        and depend.refobjsubid > 0"""


@dataclass(frozen=True)
class Column:
    """A column as the scratch database has it. type: with its collation."""

    name: str
    type: str
    is_date: bool


@dataclass(frozen=True)
class Relation:
    """A table whose rows are copied, or a view that is read through: `definition` is its query then."""

    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...] = ()
    definition: str = ""

    @property
    def title(self) -> str:
        """As available_at.yaml and people call it."""
        return f"{self.schema}.{self.name}"

    @property
    def quoted(self) -> str:
        return postgres.identifier(self.schema, self.name)


@dataclass(frozen=True)
class Reading:
    """relations: tables, and views after those that they read. columns: by table title, what any query reads of it."""

    relations: tuple[Relation, ...]
    columns: dict[str, frozenset[str]]

    @property
    def tables(self) -> list[Relation]:
        return [relation for relation in self.relations if not relation.definition]


def find(
    scratch: psycopg.Connection, source: psycopg.Connection, statements: Sequence[str], declared: Collection[str]
) -> Reading:
    """What the statements read. The scratch database then holds empty tables of the same names, and the views.

    Args:
        declared: titles of views that are copied as if they were tables.

    Raises:
        EvergreenError: a table has a type that cannot be made in the scratch database, or a statement fails.
    """
    paths = [name for (name,) in source.execute("select unnest(current_schemas(false))").fetchall()]
    for schema in (OURS, *paths):
        scratch.execute(f"create schema if not exists {postgres.identifier(schema)}")
    if paths:
        scratch.execute(f"set search_path to {', '.join(map(postgres.identifier, paths))}")
    found: list[Relation] = []
    for number, statement in enumerate(statements):
        _define(scratch, source, f"create view {OURS}.query_{number} as {statement}", found, declared)
    read: dict[str, set[str]] = {one.title: set() for one in found if not one.definition}
    for schema, name, column in scratch.execute(READ).fetchall():
        if f"{schema}.{name}" in read:
            read[f"{schema}.{name}"].add(column)
    if _takes_whole_rows(scratch):  # row_to_json(t) and the like name no columns
        read = {one.title: {column.name for column in one.columns} for one in found if not one.definition}
    return Reading(tuple(found), {title: frozenset(columns) for title, columns in read.items()})


def _define(
    scratch: psycopg.Connection,
    source: psycopg.Connection,
    create: str,
    found: list[Relation],
    declared: Collection[str],
) -> None:
    import psycopg

    for _ in range(MOST):
        try:
            scratch.execute(create)
            return
        except psycopg.errors.UndefinedTable as error:
            position = int(error.diag.statement_position or 0)
            name = NAME.match(create, position - 1) if position else None
            relation = name and _relation(source, name[0], declared)
            if not relation or relation.oid in {one.oid for one in found}:
                raise
        except psycopg.errors.UndefinedFunction as error:
            raise EvergreenError(
                f"{str(error.diag.message_primary).rstrip('.')}: the query calls what the source defines itself, and what such "
                "a function reads cannot be followed. Write it out in the query."
            ) from None
        except psycopg.errors.GroupingError as error:
            raise EvergreenError(
                f"{str(error.diag.message_primary).rstrip('.')}: the check reads tables through views, which have no primary "
                "key. Name every column in the query's group by."
            ) from None
        scratch.execute(f"create schema if not exists {postgres.identifier(relation.schema)}")
        if relation.definition:
            _define(scratch, source, f"create view {relation.quoted} as {relation.definition}", found, declared)
        else:
            _types(scratch, source, relation)
            columns = ", ".join(f"{postgres.identifier(column.name)} {column.type}" for column in relation.columns)
            scratch.execute(f"create table {relation.quoted} ({columns})")
        found.append(relation)
    raise EvergreenError(f"The query reads more than {MOST} tables and views: it cannot be checked.")


def _relation(source: psycopg.Connection, name: str, declared: Collection[str]) -> Relation | None:
    """The table or view that the source's role means by a name; None where there is none."""
    row = source.execute(
        "select class.oid, nspname, relname, relkind from pg_class as class join pg_namespace as namespace"
        " on namespace.oid = relnamespace where class.oid = to_regclass(%s)",
        (name,),
    ).fetchone()
    if row is None:
        return None
    oid, schema, relation, kind = row
    path = source.execute("select current_setting('search_path')").fetchone()[0]
    source.execute("select set_config('search_path', 'pg_catalog', true)")  # so that every name comes with its schema
    if kind == "v" and f"{schema}.{relation}" not in declared:
        text = source.execute("select pg_get_viewdef(%s::oid)", (oid,)).fetchone()[0]
        found = Relation(oid, schema, relation, definition=text.rstrip().rstrip(";"))
    else:
        found = Relation(oid, schema, relation, columns=tuple(_columns(source, oid, f"{schema}.{relation}")))
    source.execute("select set_config('search_path', %s, true)", (path,))
    return found


def _columns(source: psycopg.Connection, oid: int, title: str) -> list[Column]:
    columns = []
    for name, kind, collated, is_date, _oid, is_enum, is_plain in source.execute(COLUMNS, (oid,)).fetchall():
        if not (is_enum or is_plain):
            raise EvergreenError(
                f"{title}: column {name!r} has type {kind}, which is not Postgres' own, so the table cannot be copied. Make a "
                "view that casts it, let the query read that, and name the view in available_at.yaml."
            )
        columns.append(Column(name, f"{kind}{collated}", is_date))
    return columns


def _types(scratch: psycopg.Connection, source: psycopg.Connection, relation: Relation) -> None:
    """The enumerations that a table uses."""
    rows = source.execute(
        "select distinct namespace.nspname, type.typname, type.oid from pg_attribute as attribute"
        " join pg_type as used on used.oid = attribute.atttypid join pg_type as type on type.oid in (used.oid, used.typelem)"
        " join pg_namespace as namespace on namespace.oid = type.typnamespace"
        " where attribute.attrelid = %s and attribute.attnum > 0 and type.typtype = 'e'",
        (relation.oid,),
    ).fetchall()
    for schema, name, oid in rows:
        if scratch.execute("select to_regtype(%s)", (postgres.identifier(schema, name),)).fetchone()[0] is None:
            labels = source.execute("select enumlabel from pg_enum where enumtypid = %s order by enumsortorder", (oid,))
            listed = ", ".join(postgres.literal(label) for (label,) in labels.fetchall())
            scratch.execute(f"create schema if not exists {postgres.identifier(schema)}")
            scratch.execute(f"create type {postgres.identifier(schema, name)} as enum ({listed})")


def _takes_whole_rows(scratch: psycopg.Connection) -> bool:
    texts = scratch.execute(
        "select pg_get_viewdef(class.oid) from pg_class as class join pg_namespace as namespace"
        " on namespace.oid = relnamespace where relkind = 'v' and nspname not in ('pg_catalog', 'information_schema')"
    ).fetchall()
    return any(".*" in re.sub(postgres.QUOTED, "", text) for (text,) in texts)
