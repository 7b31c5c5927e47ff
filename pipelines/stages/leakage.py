"""Stage leakage: does a column say what cannot be known in time, or rows stand on both sides? Judged before training."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.validation import check_page
from pipelines.validation.leakage import divide, judge


def main(*, training: Path, schema: Path, verdict: Path, docs: Path) -> None:
    """Judge the two sides; write the verdict and the page in `docs`, and only then fail if a critical check is red."""
    params = parameters.read()
    seen = json.loads(schema.read_text("utf-8"))
    with stage.phase("read"):
        rows = pq.read_table(training)
    sides = divide(rows, seen, params)
    checks = judge(sides, params)
    sizes = f"{sides.train.num_rows:,} training rows, {sides.test.num_rows:,} held out, {len(sides.learnt)} columns."
    check_page.conclude("Leakage", checks, {"rows": rows.num_rows}, check_page.Above([sizes]), verdict, docs)


if __name__ == "__main__":
    stage.run(main)
