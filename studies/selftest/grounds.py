"""The tables that the data gate is tried on: the clone's own, which is the demo's at first, and the three real ones.

Each is loaded into a Postgres of its own and read by the project's own SQL, as a retraining would.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.load import load_file
from examples.telecom import load as demo
from infra.stack import postgres_server
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.params import Params
from pipelines.data import extract, postgres, split
from pipelines.validation import suite
from pipelines.validation.expectations import Expectation
from studies import tables

PROJECT = Path(__file__).parents[2]
ROWS = 30_000  # of a table, by whole entities: a judgement then takes a tenth of a second
DEMO, CUSTOMERS = "churn", 3_000
AS_OF = {"churn": "2025-12-31", "hotel_bookings": "2017-08-31", "online_retail": "2011-12-08", "telco": None}
HISTORY = {"churn": 670}  # days: more snapshots than the demo trains on


@dataclass(frozen=True)
class Ground:
    """A table's clean rows, and its params with the pin."""

    name: str
    rows: pa.Table
    params: Params

    @property
    def days(self) -> list[date]:
        """Its snapshots, oldest first."""
        time = self.params.data.time
        return sorted(pc.unique(self.rows[time]).to_pylist()) if time else []

    @property
    def learnt(self) -> tuple[str, ...]:
        """Columns that a model sees."""
        hidden = {*self.params.data.hidden, *self.params.features.exclude}
        return tuple(name for name in self.rows.column_names if name not in hidden)

    def suite(self) -> list[Expectation]:
        """What `evergreen init` would expect of them: learnt without the newest snapshots."""
        newest = self.params.evaluate.newest_snapshots
        return suite.propose(suite.window(self.rows, self.params.data, newest), self.params.data, self.params.validate_)

    def until(self, day: date) -> Ground:
        """As it was when a snapshot was the newest."""
        data = self.params.data
        assert data.time is not None
        later = self.days[-1] - day
        pinned = data.model_copy(update={"as_of": data.as_of - later if isinstance(data.as_of, date) else data.as_of})
        rows = self.rows.filter(pc.less_equal(self.rows[data.time], pa.scalar(day, self.rows[data.time].type)))
        return Ground(self.name, rows, self.params.model_copy(update={"data": pinned}))

    def resampled(self, seed: int) -> Ground:
        """Entities drawn with replacement, each under a name of its own."""
        name, random = self.params.data.entity, np.random.default_rng(seed)
        codes = self.rows[name].combine_chunks().dictionary_encode().indices.to_numpy()
        order = np.argsort(codes, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
        drawn = random.integers(len(parts), size=len(parts))
        place = np.concatenate([parts[one] for one in drawn])
        entity = np.repeat(np.arange(len(drawn)), [len(parts[one]) for one in drawn])
        column = pa.array(entity).cast(self.rows[name].type)
        rows = self.rows.take(pa.array(place))
        return Ground(self.name, rows.set_column(rows.column_names.index(name), name, column), self.params)


def small(params: Params, customers: int = 300) -> Ground:
    """Customers made up on the spot, on six days: a table for a look of seconds."""
    random, days = np.random.default_rng(0), [date(2025, month, 28) for month in range(1, 7)]
    size = customers * len(days)
    rows = pa.table(
        {
            "customer": [f"c{row % customers}" for row in range(size)],
            "day": np.repeat(np.array(days, "datetime64[D]"), customers),
            "left": (random.random(size) < 0.3).astype(np.int32),
            "amount": np.round(random.lognormal(5, 1, size), 2),
            "share": random.random(size),
            "orders": random.integers(0, 9, size),
            "plan": random.choice(["basic", "fiber", "mobile"], size),
        }
    )
    names = {"entity": "customer", "time": "day", "target": "left", "protected": [], "personal": []}
    pin = {"as_of": date(2025, 8, 20), "horizon_days": 30, "embargo_days": 14}
    limits = params.validate_.model_copy(update={"min_rows": 1000, "min_positives": 50, "min_newest_rows": 100})
    sections = {
        "data": params.data.model_copy(update=names | pin),
        "features": params.features.model_copy(update={"exclude": []}),
        "evaluate": params.evaluate.model_copy(update={"newest_snapshots": 1}),
        "validate_": limits,
    }
    return Ground("made up", rows, params.model_copy(update=sections))


@contextmanager
def scratch() -> Iterator[str]:
    """Superuser's URL of a Postgres that is gone afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, postgres_server.running(Path(folder) / "data", port, "for-a-while") as url:
        yield url


def load(data: Path | None, say: Callable[[str], None], project: Path = PROJECT) -> list[Ground]:
    """This clone's table and the real ones, where `data` has them; each by its own SQL and params.

    The demo's is simulated. Of a table of one's own these are the rows that `dvc repro` has extracted.
    """
    own, extracted = params.read(project / "params.yaml"), project / "data" / "rows.parquet"
    found = []
    with scratch() as url:
        if own.data.dataset == DEMO:
            demo.load_demo(url, customers=CUSTOMERS, months=24, seed=7, shifts=frozenset(), say=lambda _: None)
            found.append(_read(url, project, DEMO, own))
        elif own.data.as_of and extracted.exists():
            found.append(Ground(own.model, _fewer(pq.read_table(extracted), own), own))
        for table in tables.TABLES:
            if data and (data / table.file).exists():
                load_file.load(url, data / table.file, table.table)
                file = project / "sql" / table.dataset / "params.yaml"
                found.append(_read(url, project, table.dataset, params.read(file)))
    for one in found:
        say(f"{one.name}: {one.rows.num_rows:,} rows, {len(one.learnt)} columns, {len(one.days) or 'no'} snapshots")
    if not found:
        raise EvergreenError("There are no rows to try the gates on: run `dvc repro`, or name the real tables by --data.")
    return found


def _read(url: str, project: Path, dataset: str, config: Params) -> Ground:
    as_of = AS_OF[dataset]
    pinned: dict[str, Any] = {"as_of": date.fromisoformat(as_of) if as_of else params.TIMELESS}
    if dataset in HISTORY:
        pinned["history_days"] = HISTORY[dataset]
    data = config.data.model_copy(update=pinned)
    query = extract.Queries(project / "sql" / dataset).training_set
    statement = postgres.bind(query, data.binds)
    with postgres.snapshot(url, data.timezone) as source, source.batches(statement) as batches:
        rows = batches.read_all()
    rows = rows.cast(pa.schema([pa.field(one.name, one.type) for one in rows.schema]))
    return Ground(dataset, _fewer(rows, config), config.model_copy(update={"data": data}))


def _fewer(rows: pa.Table, config: Params) -> pa.Table:
    """About ROWS of them, by whole entities."""
    if rows.num_rows <= ROWS:
        return rows
    kept = split.unseen_fold(rows[config.data.entity], {"salt": "fewer", "test_share": ROWS / rows.num_rows})
    return rows.filter(pa.array(kept != split.ALL_SEEN))
