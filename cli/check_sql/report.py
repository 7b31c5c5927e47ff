"""What `evergreen data check-sql` says. It holds counts and names, and no row of data."""

from __future__ import annotations

from collections.abc import Iterator

from cli.check_sql.plans import Slow
from cli.check_sql.prove import Check

LIMITS = (
    "What this cannot see: rows that were updated or deleted in place keep no history, so a column that is overwritten later "
    "looks as if it had always been so; and the days that available_at.yaml names are believed."
)


def told(check: Check) -> Iterator[str]:
    """A headline, and a line a difference."""
    found = check.difference
    if not check.fails:
        same = f"{found.rows:,} rows are the same" if found.rows else "nothing to compare"
        yield f"ok     {check.about}: {same}"
    else:
        yield f"WRONG  {check.about}: {check.first}, and {check.second}, the result is not the same"
        if found.only_first:
            yield f"         {found.only_first:,} rows are there {check.first} only{_because(check, side='first')}"
        if found.only_second:
            yield f"         {found.only_second:,} rows are there {check.second} only{_because(check, side='second')}"
        for name, change in found.columns.items():
            empty = ""
            if change.vanishes:
                empty = f", {change.vanishes:,} of them NULL {check.second}"
            elif change.appears:
                empty = f", {change.appears:,} of them NULL {check.first}"
            yield f"         {name}: {change.rows:,} of {found.rows:,} rows differ{empty}{_because(check, column=name)}"
    for note in check.notes:
        yield f"         note: {note}."


def planned(warnings: list[Slow]) -> Iterator[str]:
    """The plan's warnings, with what to hand to who owns the tables."""
    if not warnings:
        yield "ok     the source's plan: no index is missing"
    for warning in warnings:
        yield f"SLOW   {warning.message}"
        if warning.index:
            yield f"         for who owns the table: {warning.index}"


def _because(check: Check, *, column: str = "", side: str = "") -> str:
    tables = [cause.table for cause in check.causes if column in cause.columns or side in cause.sides]
    if not tables:
        return ""
    return f": by rows of {' and '.join(tables)} that were not known yet"
