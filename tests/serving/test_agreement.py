"""Training, batch and online scores of the same rows agree for every candidate, without anything that loads a pickle."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import onnx_model
from pipelines.config import params
from pipelines.training.fitting.calibration import Platt
from serving.columns import Columns
from serving.decoding import Requests
from serving.version import Served
from tests.support import served_versions as versions
from tests.support.candidate_tables import KNOWN, SCHEMA, graph_of, odd, planted

pytestmark = pytest.mark.slow

CONFIG = params.read()
CANDIDATES = ["linear", "forest", "boosting", "lightgbm", "xgboost", pytest.param("mlp", marks=pytest.mark.long)]
ROWS = 3000
# a process whose every attempt to import what runs code out of files is refused, and which loads no class by a pickle
GUARDED = """
import sys
REFUSED = {"cloudpickle", "dill", "joblib", "skops", "mlflow"}
def guard(event, arguments):
    if event == "import" and arguments[0].partition(".")[0] in REFUSED:
        raise ImportError(f"{arguments[0]} has no place on the scoring path")
    if event == "pickle.find_class":
        raise RuntimeError("something was loaded by a pickle")
sys.addaudithook(guard)
import json
from pathlib import Path
import pyarrow.parquet as pq
from pipelines import onnx_model
folder, digests, rows = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
print(json.dumps(onnx_model.load(folder, digests).score(pq.read_table(rows)).tolist()))
"""


def as_table(rows) -> pa.Table:
    """The rows as a query gives them: NULL is missing, and a text that no model knows is one."""
    texts = [np.array(["never seen", None, *known], dtype=object) for known in KNOWN.values()]
    numbers = {name: pa.array(rows.numbers[:, at].astype(float), from_pandas=True) for at, name in enumerate(SCHEMA["numbers"])}
    columns = {name: texts[at][rows.codes[:, at].astype(int)].tolist() for at, name in enumerate(KNOWN)}
    return pa.table(numbers | {name: pa.array(values, pa.string()) for name, values in columns.items()})


@pytest.mark.parametrize("candidate", CANDIDATES)
def test_training_batch_and_online_scores_agree(candidate, tmp_path):
    module = importlib.import_module(f"pipelines.training.candidates.{candidate}")
    fitted = [module.fit(planted(2000, seed), CONFIG.candidate(candidate), seed=1, threads=1) for seed in (5, 6)]
    calibration = Platt(0.9, -0.1)
    rows = odd(ROWS)
    trained = calibration(sum(module.margin(model, rows) for model in fitted) / len(fitted))
    bundle = versions.write(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(graph_of(module, fitted, calibration=calibration).SerializeToString())
    (bundle / "schema.json").write_text(json.dumps(SCHEMA))
    table = as_table(rows)
    pq.write_table(table, tmp_path / "rows.parquet")
    digests = versions.digests(bundle)
    command = [sys.executable, "-c", GUARDED, str(bundle), json.dumps(digests), str(tmp_path / "rows.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    batch = np.array(json.loads(done.stdout))
    requests = Requests(Columns.of(SCHEMA, {}, "customer_id", ROWS))
    served = Served(versions.champion(bundle), onnx_model.load(bundle, digests), requests, {})
    decoded, _ = requests.decode(msgspec.json.encode(table.to_pylist()))
    asked = [msgspec.structs.astuple(row) for row in decoded]
    alone = [served.score([row]) for row in asked[:100]]  # as requests come: alone, and many in a turn
    online = np.concatenate([*alone, served.score(asked[100:])])
    assert np.abs(batch - trained).max() < 1e-5
    assert np.abs(online - batch).max() < 1e-5
    assert len(np.unique(online)) > 100
