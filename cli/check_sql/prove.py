"""The proof: the same query on all of history and on what was known, and what tells the two apart.

Three things can look ahead, so three things are asked. As of a date: does what became known later change the result? Of a
snapshot within it: do its features differ from those that the same file gives when it scores that day? And: was its label
final when horizon and embargo had passed?
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from cli.check_sql import clock, compare
from cli.check_sql.compare import Difference
from cli.check_sql.history import History, stream
from cli.check_sql.relations import OURS
from pipelines.config.params import DataParams
from pipelines.data import postgres
from pipelines.data.extract import Queries

if TYPE_CHECKING:
    import psycopg

SCORING = {"history_days": 0, "horizon_days": 0, "embargo_days": 0}
UNEXPLAINED = (
    "no table's later rows explain this: does the query draw random numbers, take the first of rows that are alike, or mean "
    "something else when all windows are 0"
)
ANOTHER_DAY = timedelta(days=400)  # of the clock: more than a year, so that month and weekday change too
EARLIER_DAYS = (0, 7, 15)  # days of a month whose rows come on days of their own


@dataclass(frozen=True)
class Cause:
    """A table, and what its later rows change: columns, or whole rows that are in one result only, by its side."""

    table: str
    columns: frozenset[str]
    sides: frozenset[str]


@dataclass(frozen=True)
class Check:
    """What one comparison showed. first, second: what its two sides are called; fails: not mended by a note."""

    about: str
    first: str
    second: str
    difference: Difference
    causes: tuple[Cause, ...] = ()
    fails: bool = False
    notes: tuple[str, ...] = ()


class Proof:
    """Comparisons of one dataset's queries."""

    def __init__(
        self,
        scratch: psycopg.Connection,
        source: psycopg.Connection,
        history: History,
        queries: Queries,
        data: DataParams,
        *,
        every_day: bool,
        most_rows: int | None,
    ) -> None:
        self._scratch, self._source, self._history = scratch, source, history
        self._queries, self._data, self._every_day, self._most_rows = queries, data, every_day, most_rows
        self._numbers = itertools.count()
        self._bases: dict[date, str] = {}

    def training(self, as_of: date) -> str:
        return postgres.bind(self._queries.training_set, self._data.binds | {"as_of": as_of})

    def full(self, statement: str) -> str:
        """The table of a statement's result on the source, with all that it holds."""
        table = self._name()
        self._scratch.execute(f"create unlogged table {table} as {statement} with no data")
        stream(self._source, f"copy ({statement}) to stdout (format binary)", self._scratch, table)
        return table

    def known(self, statement: str, cut: date, but: Mapping[str, date | None] | None = None, today: date | None = None) -> str:
        """The same on what was known by a day; of some tables by another."""
        table = self._name()
        self._history.cut(cut, but)
        if today:
            self._history.show(today)
            statement = clock.stopped(statement, today)
        self._scratch.execute(f"create unlogged table {table} as {statement}")
        if today:
            self._history.show()
        return table

    def snapshots(self, table: str) -> list[date]:
        """Snapshot dates of a result, the newest first."""
        time = postgres.identifier(self._data.time)
        rows = self._scratch.execute(f"select distinct {time}::date from {table} where {time} is not null order by 1 desc")
        return [day for (day,) in rows.fetchall()]

    def count(self, table: str) -> int:
        return self._scratch.execute(f"select count(*) from {table}").fetchone()[0]

    def as_of(self, day: date, statement: str, full: str, what: str) -> Check:
        """Does what became known after a day change what is read as of it?"""
        known = self.known(statement, day)
        columns = self._compared(full, {*self._data.key_columns})
        found = self._compare(full, known, columns)
        check = Check(f"{what} as of {day}", "with later rows", "without them", found, fails=not found.is_none)
        if found.is_none:
            return check
        if not self._history.complete(self._most_rows):
            return replace(check, notes=("too many rows became known later to look for the table; --force copies them",))

        def blame(table: str) -> Difference:
            return self._compare(self.known(statement, day, {table: None}), known, columns)

        return self._blamed(check, blame)

    def features(self, as_of: date, snapshot: date, full: str) -> Iterator[Check]:
        """Are a snapshot's features those that scoring it would have given?"""
        days = [snapshot - timedelta(days=back) for back in (EARLIER_DAYS if self._every_day else (0,))]
        entity, time = postgres.identifier(self._data.entity), postgres.identifier(self._data.time)
        columns = self._compared(full, {*self._data.key_columns, self._data.target})
        full = self._uncorrected(as_of, snapshot, full)
        trained = self._of(full, snapshot)
        if self._every_day:  # an entity that came on several days of the month has several rows of that month
            trained = f"select * from {full} where {entity} in (select {entity} from ({trained}) as once group by {entity} "
            trained += f"having count(*) = 1) and {time}::date = {postgres.literal(str(snapshot))}"
        for day in days:
            scoring = postgres.bind(self._queries.training_set, self._data.binds | SCORING | {"as_of": day})
            scored = self.known(scoring, day)
            found = compare.compare(self._scratch, trained, f"table {scored}", [self._data.entity], columns)
            about = f"features of snapshot {snapshot}" + ("" if day == snapshot else f", rows of {day}")
            yield self._judged(Check(about, "in training", "when scored on that day", found), as_of, snapshot, columns)

    def labels(self, as_of: date, snapshot: date, full: str) -> Check:
        """Was a snapshot's label final when horizon and embargo had passed?"""
        final = snapshot + timedelta(days=self._data.horizon_days + self._data.embargo_days)
        full = self._uncorrected(as_of, final, full)
        early = self.known(self.training(final), final)
        target, keys = [self._data.target], self._data.key_columns
        found = compare.compare(self._scratch, self._of(full, snapshot), self._of(early, snapshot), keys, target)
        about = f"labels of snapshot {snapshot}, final on {final}"
        check = Check(about, f"as of {as_of}", "when they were final", found, fails=bool(found.columns))
        if not found.rows:
            return replace(check, notes=("no row is in both, so nothing was compared",))
        if not check.fails:
            return check

        def blame(table: str) -> Difference:
            early_of_one = self.known(self.training(as_of), as_of, {table: final})
            return compare.compare(
                self._scratch, self._of(self._base(as_of), snapshot), self._of(early_of_one, snapshot), keys, target
            )

        return self._blamed(check, blame)

    def clock(self, as_of: date, statement: str) -> Check | None:
        """Does the result depend on the day of the run? None where nothing asks for it."""
        calls = clock.asked(statement)
        if not calls and not self._history.asks_clock:
            return None
        one, other = (self.known(statement, as_of, today=today) for today in (as_of, as_of + ANOTHER_DAY))
        found = self._compare(one, other, self._compared(one, {*self._data.key_columns}))
        called = f"`{'`, `'.join(calls)}`" if calls else "a view that asks for the day"
        note = "" if not found.is_none else "no column changes with it here; :as_of says the same and cannot go wrong"
        return Check(
            f"the clock: the query has {called}",
            f"run on {as_of}",
            f"run on {as_of + ANOTHER_DAY}",
            found,
            fails=not found.is_none,
            notes=tuple(filter(None, [note])),
        )

    def _judged(self, check: Check, as_of: date, snapshot: date, columns: Sequence[str]) -> Check:
        """A comparison with scoring: who is scored and not trained on is none of its business, the rest is."""
        found, notes = check.difference, []
        if found.only_second:
            notes.append(
                f"{found.only_second:,} more rows are scored on that day: training, knowing what came later, leaves them out. "
                "Right only for who has no outcome any more"
            )
        # of a month whose rows come on days of their own, scoring a day gives that day's; but some of them
        unscored = found.only_first and (not self._every_day or (found.only_second and not found.rows))
        if not found.rows:
            notes.append("no row is in both, so nothing was compared")
        if not (found.columns or unscored):
            return replace(check, difference=replace(found, only_first=0, only_second=0), notes=tuple(notes))

        def blame(table: str) -> Difference:
            early_of_one = self.known(self.training(as_of), as_of, {table: snapshot})
            return compare.compare(
                self._scratch,
                self._of(self._base(as_of), snapshot),
                self._of(early_of_one, snapshot),
                self._data.key_columns,
                columns,
            )

        shown = replace(found, only_first=found.only_first if unscored else 0, only_second=0)
        return self._blamed(replace(check, difference=shown, fails=True, notes=tuple(notes)), blame)

    def _uncorrected(self, as_of: date, day: date, full: str) -> str:
        """The training rows without what later corrections, which may change how the past is seen, have changed."""
        corrections = {table: day for table in self._history.dated if self._history.corrects(table)}
        return self.known(self.training(as_of), as_of, corrections) if corrections else full

    def _base(self, as_of: date) -> str:
        """The training rows on what was known as of their pin, run once."""
        if as_of not in self._bases:
            self._bases[as_of] = self.known(self.training(as_of), as_of)
        return self._bases[as_of]

    def _blamed(self, check: Check, blame: Callable[[str], Difference]) -> Check:
        """With the tables without whose later rows, each by itself, the result is another one."""
        causes = []
        for table in self._history.dated:
            found = blame(table)
            if not found.is_none:
                sides = {"first": found.only_first, "second": found.only_second}
                causes.append(Cause(table, frozenset(found.columns), frozenset(side for side in sides if sides[side])))
        note = () if causes else (UNEXPLAINED,)
        return replace(check, causes=tuple(causes), notes=(*check.notes, *note))

    def _compare(self, first: str, second: str, columns: Sequence[str]) -> Difference:
        return compare.compare(self._scratch, f"table {first}", f"table {second}", self._data.key_columns, columns)

    def _compared(self, table: str, without: set[str]) -> list[str]:
        columns: Any = self._scratch.execute(f"select * from {table} limit 0").description
        return [column.name for column in columns if column.name not in without]

    def _of(self, table: str, snapshot: date) -> str:
        time = postgres.identifier(self._data.time)
        return f"select * from {table} where {time}::date = {postgres.literal(str(snapshot))}"

    def _name(self) -> str:
        return f"{OURS}.result_{next(self._numbers)}"
