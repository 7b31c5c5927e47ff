"""What a promoter does, to be run in a process of its own that may be killed at any moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pipelines.config.errors import EvergreenError
from pipelines.evaluation import latency
from pipelines.promotion import gains, gate
from pipelines.registry import ledger, publish
from tests.support import bundles

MOVED = 3  # exit code: another promoter was faster
ROWS = bundles.held_out_rows().slice(0, 1500)
PARAMS = bundles.params(evaluate=bundles.EVALUATE.model_copy(update={"bootstrap": 100}))
WARM = ["pytest", "mlflow.tracking.client", "onnxruntime", "scipy.sparse", "psycopg", "sqlalchemy", __name__]
assert gains and gate and latency  # imported here, so that a forked promoter need not


def promote(url: str, uri: str, model: str, version: int, cache: Path, fault: str = "") -> None:
    """Judge a version and promote it where it is better: all that a retraining does to the championship."""
    os.environ["EVERGREEN_FAULT"] = fault
    try:
        published = ledger.version(url, model, version)
        publish.decide(url, uri, published, ROWS, PARAMS, cache=cache, actor=f"promoter-{version}")
    except ledger.ChampionMovedError:
        sys.exit(MOVED)
    except EvergreenError as error:
        sys.exit(str(error))
