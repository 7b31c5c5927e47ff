"""A version as it is watched: what it scored, its reference, and the rows of any day by its own SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from monitoring import histograms, profiles, store, traffic, windows
from monitoring.histograms import PREDICTION, Histograms
from monitoring.reference import FILE, Reference
from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry.schema import FOLDER
from pipelines.scoring import outcomes
from pipelines.scoring.score import ENTITY, Source, of_size

if TYPE_CHECKING:
    from monitoring.windows import Window
    from pipelines.config.params import Params
    from pipelines.promotion.gate import Bundle
    from pipelines.registry.ledger import Version
    from pipelines.scoring.predictions import Run

CHUNK_ROWS = 50_000
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """A version, its source as it reads it, and its bundle, which the caller has verified; `url` is of our own database."""

    url: str
    version: Version
    source: Source
    bundle: Bundle

    @cached_property
    def reference(self) -> Reference:
        return Reference.read(self.bundle.folder)

    @cached_property
    def model(self) -> onnx_model.Model:
        return onnx_model.load(self.bundle.folder, self.bundle.digests)

    @property
    def can_be_watched(self) -> bool:
        """Whether its bundle has a reference: those of earlier days have none."""
        return (self.bundle.folder / FILE).exists()

    @property
    def as_of(self) -> date | None:
        """Its pin; None where the table has no time."""
        return self.source.data.as_of if isinstance(self.source.data.as_of, date) else None

    @property
    def maturity_days(self) -> int:
        """Days after which the label of a score is final."""
        return self.source.data.horizon_days + self.source.data.embargo_days

    def count(self, rows: pa.Table, scores: Any) -> str:
        """What scoring keeps of a chunk of rows."""
        return profiles.count(rows, scores, self.reference).to_json()

    def profiles(self, days: Sequence[date], runs: Mapping[date, Run]) -> list[Histograms]:
        """What was counted of some days' runs. What the API was asked on a day is counted once, from the ledger; a day without
        a run, or whose rows nobody counted, is looked at in the source as it was known on that day, and counted once."""
        keys = {day: runs[day].run_key if day in runs else f"baseline/v{self.version.version}/{day}" for day in days}
        stored = store.profiles_of(self.url, self.version.model, list(keys.values()))
        api_days = {day for day, run in runs.items() if run.source == "api"}
        return [
            stored.get(key) or (self._read(runs[day]) if day in api_days else self._look(day, key)) for day, key in keys.items()
        ]

    def _read(self, run: Run) -> Histograms:
        counted = histograms.empty(self.reference.layout)
        for rows, scores in traffic.asked(self.url, run, self.model.schema):
            counted += profiles.count(rows, scores, self.reference)
        if counted.rows:
            store.record_profile(self.url, self.version, run.run_key, run.as_of, counted)
        return counted

    def _look(self, day: date, key: str) -> Histograms:
        counted = histograms.empty(self.reference.layout)
        with self.rows(day) as tables:
            for rows in tables:
                counted += profiles.count(rows, self.model.score(rows), self.reference)
        if counted.rows:
            store.record_profile(self.url, self.version, key, day, counted)
        return counted

    @contextmanager
    def rows(self, day: date, columns: Sequence[str] | None = None) -> Iterator[Iterator[pa.Table]]:
        """The rows that could be scored on a day, a table of at most 50,000 at a time, with the entity as text.

        Args:
            columns: those that are wanted; by default all.
        """
        statement = self.source.statement(day, None)
        if columns is not None:
            names = ", ".join(postgres.identifier(name) for name in [ENTITY, *columns])
            statement = f"select {names} from ({statement}) as wanted"
        with postgres.snapshot(self.source.url, self.source.data.timezone) as opened, opened.batches(statement) as batches:
            yield of_size(batches, CHUNK_ROWS)

    def has_rows(self, day: date) -> bool:
        """Whether anybody could be scored on a day."""
        with self.rows(day, []) as tables:
            return any(rows.num_rows for rows in tables)

    def sample(self, days: Sequence[date], size: int, seed: int) -> pa.Table | None:
        """At most `size` rows of some days, as the source gives them now, with their score as PREDICTION; drawn evenly, in
        bounded memory. None where the source has no row of them any more."""
        random, kept = np.random.default_rng(seed), []
        for day in days:
            with self.rows(day) as tables:
                for rows in tables:
                    kept.append(rows.append_column("draw", pa.array(random.random(rows.num_rows))))
                    if sum(table.num_rows for table in kept) > 2 * size:
                        kept = [_smallest(kept, size)]
        if not kept:
            return None
        drawn = _smallest(kept, size)
        return drawn.append_column(PREDICTION, pa.array(self.model.score(drawn)))

    def groups(self, days: Sequence[date]) -> dict[date, pa.Table]:
        """Entity and protected attributes of everybody on some days."""
        protected = self.source.data.protected
        by_day = {}
        for day in days:
            with self.rows(day, protected) as tables:
                if people := list(tables):
                    by_day[day] = pa.concat_tables(people)
        return by_day

    def scores(self, runs: Sequence[Run]) -> Iterator[np.ndarray]:
        """The scores of some runs, a part at a time."""
        for run in runs:
            values = {"model": run.model, "run_key": run.run_key, "as_of": run.as_of}
            statement = postgres.bind(Path(FOLDER) / "streams" / "scores_of_run.sql", values)
            with postgres.snapshot(self.url) as ledger, ledger.batches(statement) as batches:
                for batch in batches:
                    yield batch["score"].to_numpy()

    def matured(self, runs: Sequence[Run], judged_on: date) -> pa.Table:
        """entity, as_of, score, label and available_at of the runs' predictions whose labels were final and known by then."""
        parts = []
        for run in runs:
            with outcomes.matured(
                self.url, run.model, as_of_from=run.as_of, as_of_to=run.as_of, judged_on=judged_on, source=run.source
            ) as batches:
                predictions = pa.Table.from_batches(batches, batches.schema)
            parts.append(predictions.filter(pa.compute.equal(predictions["version"], run.version)))
        return pa.concat_tables(parts)


def _smallest(tables: Sequence[pa.Table], size: int) -> pa.Table:
    table = pa.concat_tables(tables)
    order = np.argsort(table["draw"].to_numpy(), kind="stable")[:size]
    return table.take(pa.array(np.sort(order)))


@dataclass(frozen=True)
class Watch:
    """What one model's windows are judged with.

    url: of our own database. subject_of: version number -> the version as it is watched. params: of the project now.
    run_id: of the run that judges, for who wants to look at it; "" for none.
    """

    url: str
    params: Params
    subject_of: Callable[[int], Subject]
    say: Say = lambda _: None
    run_id: str = ""

    @property
    def model(self) -> str:
        return self.params.model

    def window(self, day: date) -> Window:
        return windows.of_day(day, self.params.monitor.window)

    def runs(self, window: Window, version: int | None = None) -> list[Run]:
        """The runs that a window consists of: those of its newest day, or of every day; of the API's, whose askers differ from
        day to day, always those of every day.

        Raises:
            EvergreenError: nothing was scored in it.
        """
        runs = store.runs_of(self.url, self.model, window, version)
        if not runs:
            raise EvergreenError(
                f"Nothing was scored in {window.key}, so there is nothing to judge: "
                f"`evergreen run score --as-of {window.last}`, then `evergreen run monitor`."
            )
        if self.params.monitor.snapshot_policy == "latest" and not of_api(runs):
            return runs[-1:]
        return [run for run in runs if run.version == runs[-1].version]  # where the champion changed: of the new one


def of_api(runs: Iterable[Run]) -> bool:
    """Whether they are answers of the API, whose askers differ from day to day."""
    return any(run.source == "api" for run in runs)
