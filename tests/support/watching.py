"""A small world that is scored and watched month by month."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from monitoring import estimate, histograms, performance, profiles
from monitoring.histograms import PREDICTION
from monitoring.reference import FILE
from monitoring.subject import Subject, Watch
from pipelines.config import params
from pipelines.data.postgres import connect
from pipelines.promotion.gate import Bundle
from pipelines.registry import ledger
from tests.support import bundles
from tests.support.scoring import DATA, change, crown, queried

PEOPLE, MONTHS = 1500, 18  # of each month; January 2024 to June 2025


WEIGHTS = {"strong": 1.5, "weak": 1.0}


SCHEMA = {"numbers": list(WEIGHTS), "categories": {}}


FIRST, LATER, LATEST = "2025-01", "2025-02", "2025-03"


TRAINING = (
    "select id as customer_id, day as snapshot_date, left_in as churned, strong, weak, gender from people where day = :as_of"
)


OUTCOMES = """
select id as customer_id, day as snapshot_date, left_in as churned, available_at
from people
where day = any(cast(:score_days as date[])) and available_at <= :as_of
    and day + cast(:horizon_days as int) + cast(:embargo_days as int) <= :as_of
"""


PARAMS = params.read()


CONFIG = PARAMS.model_copy(
    update={
        "monitor": PARAMS.monitor.model_copy(update={"rates": {}, "non_stationary_columns": [], "min_positives": 20}),
        "evaluate": PARAMS.evaluate.model_copy(update={"bootstrap": 200}),
        "data": PARAMS.data.model_copy(update={"protected": ["gender"]}),
    }
)


def month_end(number: int) -> dt.date:
    """The last day of month 1 (January 2024) and on."""
    return dt.date(2024 + number // 12, number % 12 + 1, 1) - dt.timedelta(days=1)


def people(number: int) -> pa.Table:
    """A month of a quiet world: everybody is new, and leaves as the model thinks."""
    random = np.random.default_rng(number)
    strong, weak = random.normal(size=PEOPLE), random.normal(size=PEOPLE)
    left = random.random(PEOPLE) < bundles.sigmoid(1.5 * strong + weak)
    return pa.table(
        {
            "id": np.arange(PEOPLE) + number * PEOPLE,
            "day": [month_end(number)] * PEOPLE,
            "strong": strong,
            "weak": weak,
            "gender": random.choice(["f", "m"], PEOPLE),
            "left_in": left.astype(int),
            "available_at": [month_end(number) + dt.timedelta(days=44)] * PEOPLE,
        }
    )


@pytest.fixture(scope="module")
def world() -> list[pa.Table]:
    return [people(number) for number in range(1, MONTHS + 1)]


def load(company_url, world) -> None:
    change(
        company_url,
        "create table people (id int, day date, strong float8, weak float8, gender text, left_in int, available_at date)",
    )
    with connect(company_url) as connection, connection.cursor().copy("copy people from stdin (format csv)") as copy:
        for month in world:
            buffer = pa.BufferOutputStream()
            pa.csv.write_csv(month, buffer, pa.csv.WriteOptions(include_header=False))
            copy.write(buffer.getvalue().to_pybytes())


def publish(url, folder, world, threshold=0.5) -> tuple[ledger.Version, Bundle]:
    """A version that is right about the world, with the reference that its months of 2024 give."""
    bundles.write(folder, WEIGHTS, threshold=threshold)
    learnt = pa.concat_tables(world[:10])
    scores = bundles.sigmoid(1.5 * learnt["strong"].to_numpy() + learnt["weak"].to_numpy())
    shown = profiles.watched(learnt.append_column(PREDICTION, pa.array(scores)), scores, SCHEMA, {})
    layout = histograms.learn_layout(shown, {}, bins=CONFIG.monitor.bins)
    outcomes, entities = learnt["left_in"].to_numpy(), learnt["id"].to_numpy()
    blocks = learnt["day"].cast(pa.string()).to_numpy(zero_copy_only=False)
    calibration = estimate.learn(outcomes, scores, entities, blocks, 0.5, CONFIG.evaluate)
    expected = estimate.expect(calibration, calibration.count(scores), CONFIG.evaluate)
    measured = performance.measure(outcomes, scores, entities, 0.5, CONFIG.evaluate)
    content = {
        "rates": {},
        "layout": json.loads(layout.to_json()),
        "training": json.loads(histograms.count(shown.to_batches(), layout).to_json()),
        "calibration": calibration.to_dict(),
        "expected": {name: figure.to_dict() for name, figure in expected.items()},
        "positives": [(str(month["day"][0]), sum(month["left_in"].to_pylist()), PEOPLE) for month in world[:10]],
    }
    (folder / FILE).write_text(json.dumps(content))
    evaluated = {"candidates": {"lightgbm": {"metrics": {name: figure.to_dict() for name, figure in measured.items()}}}}
    (folder / "evaluation.json").write_text(json.dumps(evaluated))
    new = bundles.registration(folder)
    version = ledger.register_version(url, new)
    crown(url, version)
    return version, Bundle(folder, new.manifest)


@pytest.fixture
def watch(company_url, url, tmp_path, world):
    load(company_url, world)
    version, bundle = publish(url, tmp_path / "bundle", world)
    data = DATA.model_copy(update={"as_of": dt.date(2024, 12, 31), "protected": ["gender"]})
    source = queried(company_url, tmp_path / "sql", TRAINING, "select date '2025-06-30'", data=data)
    source.queries.outcomes.write_text(OUTCOMES)
    subject = Subject(url, version, source, bundle)
    return Watch(url, CONFIG, lambda number: {1: subject}[number])
