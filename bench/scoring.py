"""The speed claims of batch scoring: writing against INSERT .. SELECT, and the whole way against scikit-learn.

Both sides of a ratio do the same work in turn, in fresh processes. Scores go to a schema `evergreen` that is made for this in
the source's database and dropped at the end, never to our own ledger.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.figure import Figure, peak_mb
from bench.served import graph_of
from monitoring import histograms, profiles
from pipelines import features, onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.params import DataParams, FeaturesParams
from pipelines.config.settings import Settings
from pipelines.data import extract, postgres
from pipelines.promotion.gate import Bundle
from pipelines.registry import ledger
from pipelines.scoring import predictions, score

if TYPE_CHECKING:
    import pyarrow as pa

PAIRS = 3
INSERT_GOAL, PIPELINE_GOAL, MEMORY_MB = 1.5, 1.3, 500
TRAINING_ROWS, TREES, THREADS, BINS = 50_000, 400, 2, 30
MODEL = "bench"
# each measurement has a partition of its own
DAYS = [date(2030 + number // 12, 1 + number % 12, 28) for number in range(5 * PAIRS)]
PEOPLE = """
create table bench.people as
select
    i as customer_id, (random() < 0.05 + 0.2 * (i % 3 = 0)::int)::int as churned,
    (random() * 70)::int as tenure_months, random() * 100 as monthly_charges, random() * 1000 as total_charges,
    case when random() > 0.1 then (random() * 5)::int end as support_tickets,
    (array['month-to-month', 'one year', 'two year'])[1 + i % 3] as contract_type, (array['a', 'b', 'c'])[1 + i % 3] as plan,
    (array['north', 'south', 'east', 'west'])[1 + i % 4] as region, (random() * 10)::int as count_1,
    (random() * 10)::int as count_2, (random() * 10)::int as count_3, random() as share_1, random() as share_2,
    random() as share_3, random() as share_4, random() as share_5, random() as share_6, random() as share_7
from generate_series(1, :rows) as i
"""
KNOWN_SCORES = """
create table bench.scores as
select
    gen_random_uuid() as prediction_id, 'bench' as model, 1 as version, 'batch/v1/2030-01-28' as run_key,
    customer_id::text as entity, random() as score, random() > 0.5 as decision, 'batch' as source
from bench.people
order by customer_id
"""
INSERT = """
insert into evergreen.predictions (prediction_id, model, version, run_key, entity, as_of, score, decision, source)
select prediction_id, model, version, run_key || %(day)s, entity, %(day)s::date, score, decision, source
from bench.scores
"""
COPY = """copy evergreen.predictions (prediction_id, model, version, run_key, entity, as_of, score, decision, source)
from stdin"""
DATA = DataParams(
    dataset="bench", as_of=None, fingerprint=None, entity="customer_id", time=None, target="churned", protected=[], personal=[],
    history_days=0, horizon_days=0, embargo_days=0,
)  # fmt: skip


def measure(settings: Settings, rows: int, say: Callable[[str], None]) -> list[Figure]:
    """Measure in the source's database, by the role that may load; it is left as it was.

    Raises:
        EvergreenError: a schema `evergreen` is there already: that is somebody's ledger.
    """
    url = settings.load_url
    with postgres.connect(url) as connection:
        if connection.execute("select to_regnamespace('evergreen')").fetchone()[0]:
            raise EvergreenError("The database of LOAD_URL holds a schema evergreen: the bench needs one of its own there.")
    try:
        with tempfile.TemporaryDirectory() as scratch:
            _prepare(url, rows, Path(scratch))
            days = iter(DAYS)
            writes, rounds = [], []
            for _ in range(PAIRS):
                insert, ours = _write_pair(url, next(days), next(days))
                say(f"{rows:,} scores: INSERT .. SELECT {insert:.2f} s, ours {ours:.2f} s")
                writes.append(ours / insert)
            for _ in range(PAIRS):
                rounds.append({way: _in_a_process(way, url, Path(scratch), next(days)) for way in WAYS})
                for way, (seconds, peak) in rounds[-1].items():
                    speed = f"{seconds:.1f} s, {rows / seconds:,.0f} rows/s, peak {peak:.0f} MB"
                    say(f"{rows:,} rows, Postgres to Postgres, {way}: {speed}")
    finally:
        with postgres.connect(url) as connection:
            connection.execute("drop schema if exists evergreen cascade; drop schema if exists bench cascade")
    gained = median(ways["usual"][0] / ways["ours"][0] for ways in rounds)
    peak = max(ways["ours"][1] for ways in rounds)
    return [
        Figure(f"write {rows:,} scores / INSERT .. SELECT with the same key", median(writes), INSERT_GOAL),
        Figure(f"score {rows:,} rows, rows/s / scikit-learn pipeline's with pandas and COPY", gained, PIPELINE_GOAL, "higher"),
        Figure(f"score {rows:,} rows, peak memory / {MEMORY_MB} MB", peak / MEMORY_MB, 1.0),
    ]


def _prepare(url: str, rows: int, scratch: Path) -> None:
    """Tables, a model as both sides know it, and a version for the ledger to refer to."""
    with postgres.connect(url) as connection:
        connection.execute("drop schema if exists bench cascade; create schema bench; select setseed(0.5)")
        connection.execute(PEOPLE.replace(":rows", str(rows)))
        connection.execute("alter table bench.people add primary key (customer_id)")
        connection.execute(KNOWN_SCORES)
    with postgres.connect(url) as connection:
        connection.autocommit = True
        connection.execute("vacuum analyze bench.people")
        connection.execute("vacuum analyze bench.scores")
    ledger.migrate(url)
    ledger.register_version(url, _registration())
    with postgres.connect(url) as connection:
        for day in DAYS:
            connection.execute("select evergreen.predictions_partition(%s)", [day])
    (scratch / "training_set.sql").write_text("select * from bench.people")
    _in_a_process("fit", url, scratch, DAYS[0])


def _registration() -> ledger.Registration:
    nothing = "0" * 64
    return ledger.Registration(
        model=MODEL, bundle_sha256=nothing, onnx_sha256=nothing, manifest={"model.onnx": nothing}, git_commit="", git_ref="",
        data_manifest_sha256=nothing, params_sha256=nothing, mlflow_run_id="", mlflow_version=1, metrics={},
    )  # fmt: skip


def _by_fitting(url: str, scratch: Path, _day: date) -> Callable[[], Any]:
    """The model that both sides score with."""

    def run() -> None:
        with postgres.snapshot(url) as opened, opened.batches(f"select * from bench.people limit {TRAINING_ROWS}") as batches:
            _fit(batches.read_all(), scratch)

    return run


def _fit(rows: pa.Table, scratch: Path) -> None:
    """LightGBM of 400 trees on the same columns: as a scikit-learn pipeline, and as a graph of ours."""
    import joblib
    import lightgbm
    import numpy as np
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    choice = FeaturesParams(exclude=[], min_category_rows=30, max_categories=50)
    schema = features.learn_schema(rows, DATA, choice)
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("numbers", "passthrough", schema["numbers"]), ("texts", encoder, [*schema["categories"]])])
    labels = rows["churned"].to_numpy()
    trees = lightgbm.LGBMClassifier(n_estimators=TREES, n_jobs=THREADS, verbosity=-1)
    columns.set_output(transform="pandas")
    joblib.dump(make_pipeline(columns, trees).fit(rows.to_pandas(), labels), scratch / "pipeline.joblib")
    matrix = np.hstack([features.numbers(rows, schema), features.codes(rows, schema)])
    options = {"objective": "binary", "num_threads": THREADS, "verbosity": -1}
    booster = lightgbm.train(options, lightgbm.Dataset(matrix, labels), TREES)
    (scratch / "model.onnx").write_bytes(graph_of("lightgbm", booster, schema))
    (scratch / "schema.json").write_text(json.dumps(schema))
    shown = profiles.watched(rows, np.zeros(rows.num_rows), schema, {})
    (scratch / "layout.json").write_text(histograms.learn_layout(shown, schema["categories"], bins=BINS).to_json())
    (scratch / "decision.json").write_text(json.dumps({"threshold": 0.5}))


def _write_pair(url: str, first: date, second: date) -> tuple[float, float]:
    """Seconds to write the known scores: by one INSERT .. SELECT, and by ours from memory in chunks."""
    with postgres.connect(url) as connection:
        began = time.perf_counter()
        connection.execute(INSERT, {"day": str(first)})
    inserted = time.perf_counter() - began
    with postgres.snapshot(url) as opened, opened.batches("select entity, score, decision from bench.scores") as batches:
        known = batches.read_all().combine_chunks()
    run = predictions.begin(url, _plan(second))
    began = time.perf_counter()
    with postgres.connect(url) as connection:
        writer = predictions.Writer(connection, run)
        for chunk in (known.slice(start, score.CHUNK_ROWS) for start in range(0, known.num_rows, score.CHUNK_ROWS)):
            entities, scores, decisions = (chunk[name].combine_chunks() for name in ("entity", "score", "decision"))
            writer.write(entities, scores.to_numpy(), decisions.to_numpy(zero_copy_only=False))
        writer.finish()
    return inserted, time.perf_counter() - began


def _plan(day: date) -> predictions.Plan:
    return predictions.Plan(model=MODEL, version=1, as_of=day, horizon_days=0, embargo_days=0, query_sha256="")


def _in_a_process(way: str, url: str, scratch: Path, day: date) -> tuple[float, float]:
    """Seconds and peak megabytes. Threads do not spin while they wait: LightGBM's would, with both sides' time, wherever
    a core is busy with something else."""
    asked = json.dumps({"way": way, "url": url, "scratch": str(scratch), "day": str(day)})
    command, environment = [sys.executable, "-m", "bench.scoring"], os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise EvergreenError(f"The scoring that was to be measured failed:\n{done.stderr[-2000:]}")
    return tuple(json.loads(done.stdout))


def _measured(way: str, url: str, scratch: str, day: str) -> tuple[float, float]:
    """In a process of its own, imports and the loading of the model aside."""
    run = (WAYS | {"fit": _by_fitting})[way](url, Path(scratch), date.fromisoformat(day))
    began = time.perf_counter()
    run()
    return time.perf_counter() - began, peak_mb()


def _by_ours(url: str, scratch: Path, day: date) -> Callable[[], Any]:
    """As the flow does it: what those who watch count is counted along the way."""
    version, schema = ledger.version(url, MODEL, 1), json.loads((scratch / "schema.json").read_text())
    layout = histograms.Layout.from_json((scratch / "layout.json").read_text())
    onnx_model.load(scratch)
    source = score.Source(url=url, queries=extract.Queries(scratch), data=DATA)

    def count(rows: pa.Table, scores: Any) -> str:
        return histograms.count(profiles.watched(rows, scores, schema, {}).to_batches(), layout).to_json()

    return lambda: score.score(source, url, version, Bundle(scratch), as_of=day, count=count)


def _by_pipeline(url: str, scratch: Path, day: date) -> Callable[[], Any]:
    """As it is usually done, bounded in memory: pandas reads chunks, a pipeline scores them, psycopg copies them in."""
    import joblib
    import pandas
    import psycopg
    from sqlalchemy import create_engine

    pipeline = joblib.load(scratch / "pipeline.joblib")
    reader = create_engine(url, execution_options={"stream_results": True})
    address = url.replace("postgresql+psycopg://", "postgresql://", 1)

    def run() -> None:
        with reader.connect() as source, psycopg.connect(address) as target:
            chunks = pandas.read_sql("select * from bench.people order by customer_id", source, chunksize=score.CHUNK_ROWS)
            for rows in chunks:
                scores = pipeline.predict_proba(rows)[:, 1]
                with target.cursor().copy(COPY) as copy:
                    for entity, value in zip(rows["customer_id"].tolist(), scores.tolist(), strict=True):
                        copy.write_row((uuid.uuid4(), MODEL, 1, f"batch/{day}", str(entity), day, value, value >= 0.5, "batch"))
                target.commit()

    return run


def _by_pipeline_on_our_doors(url: str, scratch: Path, day: date) -> Callable[[], Any]:
    """With our reader and our writer: only the model is scored the usual way."""
    import joblib

    pipeline = joblib.load(scratch / "pipeline.joblib")

    def run() -> None:
        begun = predictions.begin(url, _plan(day))
        with (
            postgres.snapshot(url) as opened,
            opened.batches("select *, customer_id::text as entity from bench.people", order_by=["customer_id"]) as batches,
            postgres.connect(url) as connection,
        ):
            writer = predictions.Writer(connection, begun)
            for rows in score.of_size(batches, score.CHUNK_ROWS):
                scores = pipeline.predict_proba(rows.to_pandas())[:, 1]
                writer.write(rows["entity"].combine_chunks(), scores, scores >= 0.5)
            writer.finish()

    return run


WAYS = {"usual": _by_pipeline, "same doors": _by_pipeline_on_our_doors, "ours": _by_ours}

if __name__ == "__main__":
    print(json.dumps(_measured(**json.loads(sys.stdin.read()))))
