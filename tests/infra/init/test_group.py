"""An entity that has several rows and no date: from `evergreen init --group` to a bundle, by the project's own stages."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from pipelines.data import postgres
from tests.support.clones import Clone

QUICK = {
    "evaluate.bootstrap": 100, "tune.trials": 0, "train.threads": 1,
    "candidates.enabled": {"linear": "cpu", "lightgbm": "cpu"},
}  # fmt: skip
VISITS = """
    create table crm.visits as
    select
        n as visit, 'p' || n % 900 as patient, (n * 7919) % 97 as pills, (array['a', 'b', 'c'])[1 + n % 3] as ward,
        case when (n * 7919) % 97 + (n * 104729) % 60 > 100 then 'yes' else 'no' end as churn
    from generate_series(1, 4000) as n"""


@pytest.mark.long
def test_a_group_goes_all_the_way_to_a_bundle(company_url, tmp_path) -> None:
    with postgres.connect(company_url) as connection:
        connection.execute("create schema crm")
        connection.execute(VISITS)
    clone = Clone.make(tmp_path / "clone", f"SOURCE_URL='{company_url}'\nEVERGREEN_URL='{company_url}'\n", QUICK)
    clone.evergreen("init", "visits", "--table", "crm.visits", "--target", "churn", "--group", "patient", "--force")
    clone.set_params(QUICK)  # which init has replaced, for a table of few rows
    clone.evergreen("data", "pin")
    clone.run("dvc", "repro", "package")
    scores = pq.read_table(clone.folder / "evaluation" / "scores.parquet")
    assert {"patient", "visit"} < {*scores.column_names}
    evaluation = json.loads((clone.folder / "evaluation" / "evaluation.json").read_text())
    assert evaluation["entities"] == len({*scores["patient"].to_pylist()}) < scores.num_rows / 4
    assert json.loads((clone.folder / "bundle" / "serving.json").read_text())["entity"] == "visit"
    card = (clone.folder / "bundle" / "card.md").read_text()
    assert "rows of one `patient` stay together" in card and "nothing can be said of how the model does on later rows" in card
