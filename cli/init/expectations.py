"""expectations.yaml: what rows were like (pipelines/validation/suite.py), for a person to read and to make his own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cli.init import measure, queries
from cli.init.columns import Advice
from cli.init.measure import TrainingSet
from cli.init.plan import Plan
from cli.init.profile import SAMPLE
from cli.init.yaml_text import flow
from pipelines.config.errors import EvergreenError
from pipelines.config.params import Params
from pipelines.data import postgres
from pipelines.data.postgres import bind_text, identifier
from pipelines.validation import suite, validate
from pipelines.validation.expectations import SUPPORTED, Expectation, sample

PARTS = {  # of the file, by the kind of fault that is found
    "rows": "how many rows come: fewer are a load that was cut off",
    "stale": "how old the newest rows may be, in days before the pin",
    "labels": "the label: far from the share of positives that was seen, the feed or the horizon is broken",
    "type": "types: a column of another type is another column",
    "nulls": "what must be there, and what may be missing how often",
    "categories": "categories that a model knows",
    "encoding": "characters that a wrong decoding leaves",
    "range": "numbers: ends",
    "unit": "numbers: orders of magnitude. Another unit, or another column in its place, falls out of these",
    "constant": "how large a part the most frequent value may have: a feed that froze is one value",
    "rule": "pairs of numbers of which one was never the smaller",
}


def read(url: str, plan: Plan, found: TrainingSet) -> tuple[pa.Table, float]:
    """Rows of the training query to learn from, about as many as init looks at, by whole entities; and their share."""
    share = min(1.0, SAMPLE / found.rows)
    statement = bind_text(queries.training_set(plan), measure.binds(plan), "training_set.sql")
    if share < 1:
        place = f"('x' || substr(md5({identifier(plan.entity.name)}::text), 1, 8))::bit(32)::bigint"
        statement = f"select * from ({statement}) as training where {place} < {int(share * 2**32)}"
    with postgres.snapshot(url, plan.timezone) as source, source.batches(statement) as batches:
        return batches.read_all(), share


def of_extracted(file: Path, params: Params) -> str:
    """The text of expectations.yaml, learnt from rows that stage extract has written.

    Raises:
        EvergreenError: there are none.
    """
    if not file.exists():
        raise EvergreenError(f"{file} is not there: run `evergreen data pin`, then `dvc repro extract`.")
    with pq.ParquetFile(file) as opened:
        total, names = opened.metadata.num_rows, opened.schema_arrow.names
    rows = sample(file, names, min(total, params.validate_.max_rows_checked))
    proposed, learnt_from = propose(rows, rows.num_rows / total, params)
    return written(f"dataset {params.data.dataset}", proposed, learnt_from, params.data.target)


def propose(rows: pa.Table, share: float, params: Params) -> tuple[list[Expectation], str]:
    """Expectations, and in words the rows that they were learnt from."""
    learnt = suite.window(rows, params.data, params.evaluate.newest_snapshots)
    words = f"{learnt.num_rows:,} rows" + (f", {share:.0%} of all," if share < 1 else "")
    if params.data.time:
        ends = pc.min_max(learnt[params.data.time]).as_py()
        kept = learnt.num_rows < rows.num_rows
        words += f" of {ends['min']} to {ends['max']}" + (", without the newest snapshots" if kept else "")
    return suite.propose(learnt, params.data, params.validate_, share=share), words


def tried(
    proposed: Sequence[Expectation], rows: pa.Table, share: float, params: Params
) -> tuple[list[Expectation], list[Advice]]:
    """The proposals that hold on the rows that they were learnt from, and what is to be said of those that do not hold on
    these, which are left out, or on the newest ones, at which the first `dvc repro` would stop."""
    learnt = suite.window(rows, params.data, params.evaluate.newest_snapshots)
    broken = _broken(proposed, learnt, share, params)
    kept = [item for item in proposed if item not in broken]
    said = [
        Advice(", ".join(item.columns), f"{item.type} does not hold on the rows it was learnt from, and was left out.")
        for item in broken
    ]
    if learnt.num_rows < rows.num_rows:
        said += [
            Advice(
                ", ".join(item.columns) or "rows",
                f"the newest snapshots are not like those before: {item.type} fails there ({item.severity}).",
            )
            for item in _broken(kept, rows, share, params)
        ]
    return kept, said


def _broken(proposed: Sequence[Expectation], rows: pa.Table, share: float, params: Params) -> list[Expectation]:
    written = pa.BufferOutputStream()
    pq.write_table(rows, written)
    whole = [item for item in proposed if item.columns or share == 1]  # a sample has fewer rows
    checks = validate.judge_rows(pa.BufferReader(written.getvalue()), whole, params).checks
    failed = {(check.type, check.column, check.expected) for check in checks if not check.success}
    return [item for item in whole if (item.type, ", ".join(item.columns) or None, item.expected) in failed]


def written(described: str, proposed: Sequence[Expectation], learnt_from: str, target: str) -> str:
    """The text of expectations.yaml."""
    lines = [
        f"# What is expected of the rows of {described}.",
        f"# Learnt from {learnt_from}, with the tolerances of params.yaml (validate). Yours to change.",
        "# critical stops the pipeline, warning is shown. `mostly` is the share of rows that must be so. Each is judged of all",
        "# rows, and of the newest snapshot's by themselves, since faults come with the newest load; `of: all` or `of: newest`",
        "# is one of the two. Keys, labels of 0 and 1, and validate.min_rows are checked by the pipeline itself.",
        "",
        "expectations:",
    ]
    for part, title in PARTS.items():
        if of_part := [_line(item) for item in proposed if _part(item, target) == part]:
            lines += [f"  # {title}", *of_part, ""]
    return "\n".join(lines).rstrip() + "\n"


def _part(item: Expectation, target: str) -> str:
    return "labels" if target in item.columns else SUPPORTED[item.type].kind


def _line(item: Expectation) -> str:
    entry: dict[str, Any] = {"type": item.type, "severity": item.severity, "kwargs": item.kwargs}
    if item.of != "both":
        entry["of"] = item.of
    return f"  - {flow(entry)}"
