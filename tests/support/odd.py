"""A table with every odd name and kind of value that the world has, and a signal that a model can learn."""

from __future__ import annotations

import csv
import io

import numpy as np

from pipelines.data import postgres

TABLE = "odd schema.The.Order"
LONG = "a name of sixty-three characters, as long as Postgres lets any be"[:63]
COLUMNS = {
    "Customer No.": "text",
    "order": "integer",
    "user": "text",
    "Größe in % (m²)": "double precision",
    "Größe in %": "double precision",
    "a:b :as_of": "text",
    "Price": "numeric(10, 2)",
    "price": "money",
    LONG: "smallint",
    "two\nlines -- and 'a\" quote": "boolean",
    "字段": "text",
    'as "text"': "text",
    "since": "date",
    "seen at": "timestamptz",
    "on day": "text",
    "mood": '"odd schema"."mood of"',
    "took": "interval",
    "uuid": "uuid",
    "as json": "jsonb",
    "thousands": "varchar(40)",
    "none": "text",
    "only blanks": "text",
    "always": "text",
    "again": "integer",
    "fold": "bigint",
    "flag": "char(1)",
    "name": "text",
    "Will churn?": "text",
}


def create(url: str, rows: int = 1500, repeated: int = 40) -> None:
    """The table, with some rows twice; its target is 'Yes ', 'no', 'NO' or unknown."""
    random = np.random.default_rng(5)
    content = [_row(random, number) for number in range(rows)]
    content += content[:repeated]
    written = io.StringIO()
    csv.writer(written).writerows(content)
    columns = ", ".join(f"{postgres.identifier(name)} {kind}" for name, kind in COLUMNS.items())
    with postgres.connect(url) as connection:
        connection.execute('drop schema if exists "odd schema" cascade')
        connection.execute('create schema "odd schema"')
        connection.execute("""create type "odd schema"."mood of" as enum ('fine', 'so:so', '100%')""")
        connection.execute(f'create table "odd schema"."The.Order" ({columns})')
        if connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
            connection.execute('grant usage on schema "odd schema" to reader')
            connection.execute('grant select on "odd schema"."The.Order" to reader')
        with connection.cursor().copy("""copy "odd schema"."The.Order" from stdin (format csv, null '\\N')""") as copy:
            copy.write(written.getvalue())


def _row(random: np.random.Generator, number: int) -> list[str]:
    """Cells in the order of COLUMNS; the chance of a yes rises with `order`, and with a code of the category."""
    order, category = int(random.integers(0, 20)), int(random.integers(0, 5))
    churns = random.random() < 0.1 + 0.03 * order + 0.1 * (category == 1)
    day = np.datetime64("2020-01-01") + int(random.integers(0, 1000))
    target = "Yes " if churns else str(random.choice(["no", "NO"]))
    null = random.random() < 0.05
    return [
        f"C-{number:05}",
        r"\N" if null else str(order),
        f"group {category}",
        "NaN" if null else f"{random.normal(170, 10):.2f}",
        "Infinity" if number == 3 else f"{random.normal(0, 1):.3f}",
        str(random.choice(["x:y", "50%", " 'quoted' ", "", ":as_of"])),
        f"{random.uniform(1, 100):.2f}",
        f"${random.uniform(1, 100):.2f}",
        str(random.integers(0, 3)),
        str(random.choice(["t", "f"])),
        str(random.choice(["是", "否", "unknown"])),
        str(random.choice(["?", "", " ", "NA", f"{random.normal(5, 2):.2f}"], p=[0.05, 0.05, 0.05, 0.05, 0.8])),
        str(day),
        f"{day} 12:30:00+02",
        str(day + 30),
        str(random.choice(["fine", "so:so", "100%"])),
        f"{random.integers(1, 90)} minutes",
        f"00000000-0000-4000-8000-{number:012}",
        '{"a": 1}',
        f"category {random.integers(0, 3000)}",
        r"\N",
        str(random.choice(["", " ", "?"])),
        "the same",
        r"\N" if null else str(order),
        str(random.integers(0, 100)),
        str(random.choice(["Y", "N"])),
        f"Person {number}",
        "unknown" if number % 50 == 7 else target,
    ]


def create_log(url: str, days: int = 305, a_day: int = 20) -> None:
    """`odd schema."Order log"`: rows that come once, of the first ten months of 2024; its target is 2 where 1 is not."""
    with postgres.connect(url) as connection:
        connection.execute('create schema if not exists "odd schema"')
        connection.execute('drop table if exists "odd schema"."Order log"')
        connection.execute(
            f"""create table "odd schema"."Order log" as
                select
                    n as "Order", date '2024-01-01' + n / {a_day} as "On Day", n * 7919 % 40 as "Größe %",
                    (array['a:b', ':as_of', '50%'])[1 + n * 31 % 3] as "Plan :x",
                    date '2024-01-01' + n / {a_day} - ('x' || substr(md5(n::text), 1, 6))::bit(24)::int % 400 as "user",
                    1 + ((n * 7919 % 40 + n * 104729 % 60) > 55)::int as "where"
                from generate_series(0, {days * a_day - 1}) as n"""
        )
        if connection.execute("select 1 from pg_roles where rolname = 'reader'").fetchone():
            connection.execute('grant usage on schema "odd schema" to reader')
            connection.execute('grant select on "odd schema"."Order log" to reader')
