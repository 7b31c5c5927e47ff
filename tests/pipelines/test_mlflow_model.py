"""A version as an MLflow model gives the scores of batch and API, for every frame that a person may have of the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pipelines import onnx_model
from pipelines.registry import mlflow_model
from tests.support import served_versions as versions

pytestmark = pytest.mark.slow

ROWS = pa.table(
    {
        "customer_id": pa.array([1, 2, 3, 4, 5]),
        "tenure_months": pa.array([5, None, 30, 12, 72], pa.int32()),
        "monthly_charges": pa.array([70.5, 65.0, float("inf"), None, float("nan")]),
        "senior": pa.array([True, None, False, True, None]),
        "plan": pa.array(["fiber", None, "never seen", "basic", ""]),
        "contract type": pa.array(["two year", "month-to-month", None, "nan", "two year"]),
    }
)
ALONE = """
import json, sys, mlflow.pyfunc, pandas as pd
frame = pd.read_json(sys.argv[2], orient="split")
print(json.dumps(mlflow.pyfunc.load_model(sys.argv[1]).predict(frame)["probability"].tolist()))
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return versions.write(tmp_path_factory.mktemp("version") / "bundle")


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("mlflow") / "model"
    mlflow_model.write(bundle, made)
    return made


def batch(bundle: Path, rows: pa.Table = ROWS) -> list[float]:
    return onnx_model.load(bundle).score(rows).tolist()


def frames() -> dict[str, pd.DataFrame]:
    plain = ROWS.to_pandas()
    return {
        "as pandas reads it": plain,
        "as Arrow types": ROWS.to_pandas(types_mapper=pd.ArrowDtype),
        "as nullable types": plain.replace(np.inf, np.nan).convert_dtypes(),
        "with None for all that is missing": plain.astype(object).where(plain.notna(), None),
        "in another order, with an index of its own": plain[plain.columns[::-1]].set_axis(list("abcde")),
    }


@pytest.mark.parametrize("kind", list(frames()))
def test_any_frame_of_the_querys_columns_gets_the_scores_of_batch(bundle, folder, kind):
    frame = frames()[kind]
    found = mlflow.pyfunc.load_model(str(folder)).predict(frame)
    assert list(found.columns) == ["probability"]
    assert found.index.equals(frame.index)
    assert found["probability"].tolist() == batch(bundle)


def test_whole_numbers_and_numbers_with_gaps_are_both_numbers(bundle, folder):
    model = mlflow.pyfunc.load_model(str(folder))
    whole = {"tenure_months": [5, 2**40], "monthly_charges": [70, 20], "senior": [1, 0]}
    texts = {"plan": ["fiber", "basic"], "contract type": ["two year", "two year"]}
    expected = batch(bundle, pa.table({**whole, **texts}))
    assert model.predict(pd.DataFrame({**whole, **texts}))["probability"].tolist() == expected


def test_many_rows_are_scored_in_the_same_pieces_as_batch_does(bundle, folder):
    many = pa.concat_tables([ROWS] * 25_000)
    found = mlflow.pyfunc.load_model(str(folder)).predict(many.to_pandas().drop(columns="customer_id"))
    assert np.array_equal(found["probability"].to_numpy(), np.array(batch(bundle, many)))


def test_a_column_that_is_not_there_is_named(folder):
    frame = ROWS.drop(["monthly_charges"]).to_pandas().drop(columns="customer_id")
    with pytest.raises(ValueError, match="lack what the model reads: monthly_charges"):
        mlflow.pyfunc.load_model(str(folder)).predict(frame)


def test_it_needs_nothing_of_evergreen(bundle, folder, tmp_path):
    """In a process that finds no code of ours."""
    rows = tmp_path / "rows.json"
    ROWS.drop(["customer_id"]).slice(0, 1).to_pandas().to_json(rows, orient="split")
    guarded = "import sys; sys.modules['pipelines'] = None\n" + ALONE
    done = subprocess.run(
        [sys.executable, "-c", guarded, str(folder), str(rows)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == batch(bundle)[:1]


def test_it_says_what_it_takes_and_holds_the_graph_under_two_flavours(bundle, folder):
    info = mlflow.models.get_model_info(str(folder))
    assert set(info.flavors) == {"python_function", "onnx"}
    assert info.signature.inputs.input_names() == ["tenure_months", "monthly_charges", "senior", "plan", "contract type"]
    assert info.signature.outputs.input_names() == ["probability"]
    assert info.metadata["columns"]["tenure_months"] == "int32"
    example = mlflow.pyfunc.load_model(str(folder)).input_example
    assert example.to_dict("records") == [
        {"tenure_months": 36, "monthly_charges": 68.5, "senior": True, "plan": "basic", "contract type": "month-to-month"}
    ]
    graph = mlflow.onnx.load_model(str(folder))
    assert graph.SerializeToString() == (bundle / "model.onnx").read_bytes()
    assert "pickle" not in (folder / "MLmodel").read_text()
    assert [path for path in folder.rglob("*") if path.suffix in {".pkl", ".pickle"}] == []
