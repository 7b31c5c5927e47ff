"""The source's plan for the training query, and the indexes that it lacks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.data import postgres

if TYPE_CHECKING:
    import psycopg

LARGE_ROWS = 10_000  # smaller tables are read in a moment
SELECTIVE = 0.05  # a scan that keeps a greater share is the right way to read
AGAIN_ROWS = 5_000_000  # read in all by a scan that is repeated: seconds and more
SPILLED_MB = 256  # a sort that writes less to disk costs little
SIZES = "select reltuples::float8 from pg_class where oid = %s::regclass"
QUOTED_TEXT = re.compile(r"'(?:[^']|'')*'")


@dataclass(frozen=True)
class Slow:
    """says: one sentence. index: the line for who owns the table, "" where none would help."""

    message: str
    index: str = ""


def explain(source: psycopg.Connection, statement: str, *, analyze: bool) -> list[Slow]:
    """Warnings about the plan of a statement; with `analyze` it is run, and the numbers are real ones."""
    source.execute("set local max_parallel_workers_per_gather = 0")  # a worker's rows are a part of the table's only
    options = "verbose, format json" + (", analyze, timing off" if analyze else "")
    plan = source.execute(f"explain ({options}) {statement}").fetchone()[0]
    plan = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
    sizes: dict[str, float] = {}
    columns: dict[str, list[str]] = {}
    for node, _ in walk(plan):
        if "Relation Name" in node:
            table = postgres.identifier(node["Schema"], node["Relation Name"])
            sizes[table] = source.execute(SIZES, (table,)).fetchone()[0]
            listed = source.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
                " order by attnum",
                (table,),
            )
            columns[table] = [name for (name,) in listed.fetchall()]
    return list(dict.fromkeys(warnings(plan, sizes, columns, analyze=analyze)))


def warnings(
    plan: Mapping[str, Any], sizes: Mapping[str, float], columns: Mapping[str, list[str]], *, analyze: bool = False
) -> Iterator[Slow]:
    """One a sequential scan that should be by index, and a sort that goes to disk.

    Args:
        plan: the tree, as EXPLAIN (FORMAT JSON) gives it.
        sizes, columns: by quoted name: estimated rows of each table, its columns.
    """
    for node, times in walk(plan):
        if node["Node Type"] == "Seq Scan":
            yield from _scan(node, times, sizes, columns, analyze)
        elif node["Node Type"] == "Sort":
            yield from _sort(node, analyze)


def walk(node: Mapping[str, Any], times: float = 1) -> Iterator[tuple[Mapping[str, Any], float]]:
    """Every node, and how often it is begun anew: the inner side of a nested loop is for each outer row, if not kept."""
    yield node, node.get("Actual Loops", times)
    children = node.get("Plans", [])
    loop = node["Node Type"] == "Nested Loop"
    outer = next((one for one in children if one.get("Parent Relationship") == "Outer"), None)
    for child in children:
        again = times
        if loop and child is not outer and outer:
            again = times * max(1.0, outer.get("Actual Rows", outer["Plan Rows"]))
        if child.get("Parent Relationship") == "InitPlan" or node["Node Type"] == "Materialize":
            again = 1  # its rows are kept
        yield from walk(child, again)


def _scan(
    node: Mapping[str, Any], times: float, sizes: Mapping[str, float], columns: Mapping[str, list[str]], analyze: bool
) -> Iterator[Slow]:
    table = postgres.identifier(node["Schema"], node["Relation Name"])
    rows, condition = sizes[table], node.get("Filter", "")
    named = _filtered(condition, node.get("Alias", node["Relation Name"]), columns[table])
    if rows < 1 or not named:
        return
    kept = (node["Actual Rows"] if analyze else node["Plan Rows"]) / rows
    seen = ", ".join(named)
    equal = [name for name, is_equal in named.items() if is_equal]
    index = f"create index on {table} ({', '.join(map(postgres.identifier, equal or [*named][:1]))});"
    shown = f"{kept:.1%}" if kept >= 0.001 else "less than 0.1%"
    if times > 1 and times * rows > AGAIN_ROWS:
        yield Slow(
            f"{table} is read as a whole about {times:,.0f} times, {rows:,.0f} rows each time, to find {shown} of them "
            f"by {seen}.",
            index,
        )
    elif rows >= LARGE_ROWS and kept <= SELECTIVE:
        yield Slow(f"{table} is read as a whole, {rows:,.0f} rows, and {shown} of them are used, by {seen}.", index)


def _sort(node: Mapping[str, Any], analyze: bool) -> Iterator[Slow]:
    if analyze:
        megabytes = node.get("Sort Space Used", 0) / 1024 if node.get("Sort Space Type") == "Disk" else 0
    else:
        megabytes = node["Plan Rows"] * node["Plan Width"] / 2**20
    if megabytes >= SPILLED_MB:
        by = ", ".join(node.get("Sort Key", []))
        yield Slow(
            f"{megabytes:,.0f} MB are sorted on disk, by {by}: a greater work_mem of the role would keep them in memory."
        )


def _filtered(condition: str, alias: str, columns: list[str]) -> dict[str, bool]:
    """Columns that a filter compares, and whether by equality; those come first. The plan's text has them after the alias."""
    text = QUOTED_TEXT.sub("''", condition)
    prefix = rf"(?:{re.escape(alias)}|{re.escape(_quoted(alias))})\."
    found: dict[str, bool] = {}
    for name in columns:
        use = rf"{prefix}(?:{re.escape(_quoted(name))}|{re.escape(name)})(?![\w$])"
        if re.search(use, text):
            equal = re.search(rf"{use}\)?(?:::[\w ]+)? = |(?<![<>!]) = {use}(?!\s*[-+*/])", text)
            compared = re.search(rf"{use}\)?(?:::[\w ]+)? [<>]|[<>]=? \(?{use}", text)
            if equal or compared:
                found[name] = bool(equal)
    return dict(sorted(found.items(), key=lambda one: not one[1]))


def _quoted(name: str) -> str:
    return postgres.identifier(name)
