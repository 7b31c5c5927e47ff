"""The gate before anything is learnt: are the extracted rows what the pipeline and their owner expect?"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.validation.checks import LOOK, check_account
from pipelines.validation.expectations import ask_great_expectations, data_docs, line_of, read_expectations
from pipelines.validation.validate import columns_of, conclude, judge_rows, shown


def main(*, rows: Path, manifest: Path, left_out: Path, expectations: Path, verdict: Path, docs: Path) -> None:
    """Judge `rows`; write the verdict and the pages in `docs`, and only then fail if a critical check is red."""
    account = json.loads(left_out.read_text("utf-8"))
    params = parameters.read()
    owned, described = read_expectations(expectations), json.loads(manifest.read_text("utf-8"))
    advice = f"{LOOK} Or change {expectations}."
    stage.say(f"{described['rows']:,} rows, {len(described['columns']):,} columns, {len(owned):,} expectations.")
    judged = judge_rows(rows, owned, params, described | {"digest": stage.sha256(rows)}, advice)
    checks, results = judged.checks, judged.counted
    if judged.left and judged.rows is not None:
        stage.say(f"Great Expectations judges {len(judged.left):,} of them.")
        answers = ask_great_expectations(judged.rows.select(columns_of(judged.left)).to_pandas(), judged.left)
        results = [*results, *zip(judged.left, answers, strict=True)]
        checks += [line_of(item, answer, advice, params.data.target) for item, answer in zip(judged.left, answers, strict=True)]
    checks += check_account(judged.total, account)
    page = data_docs(shown(results)) if results else ""
    conclude(checks, judged.total, judged.rows.num_rows if judged.rows is not None else 0, page, verdict, docs, account)


if __name__ == "__main__":
    stage.run(main)
