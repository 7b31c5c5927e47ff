"""The gate before anything is learnt: are the extracted rows what the pipeline and their owner expect?"""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import params as parameters
from pipelines.config import stage
from pipelines.validation.checks import (
    LOOK,
    check_account,
)
from pipelines.validation.expectations import (
    ask_great_expectations,
    line_of,
    read_expectations,
)
from pipelines.validation.validate import COUNTED, _columns, _seen, conclude, judge_rows, shown


def main(*, rows: Path, manifest: Path, left_out: Path, expectations: Path, verdict: Path, docs: Path) -> None:
    """Judge `rows`; write the verdict and the pages in `docs`, and only then fail if a critical check is red."""
    account = json.loads(left_out.read_text("utf-8"))
    params = parameters.read()
    owned, described = read_expectations(expectations), json.loads(manifest.read_text("utf-8"))
    advice = f"{LOOK} Or change {expectations}."
    stage.say(f"{described['rows']:,} rows, {len(described['columns']):,} columns, {len(owned):,} expectations.")
    judged = judge_rows(rows, owned, params, described | {"digest": stage.sha256(rows)}, advice)
    checks, page, seen = judged.checks, "", ""
    if judged.rows is not None and judged.asked:
        asked = shown(judged.asked, checks)
        stage.say(f"{len(checks):,} checks are counted. Great Expectations judges {len(asked):,} of {len(judged.asked):,}.")
        columns = _columns(asked, None) or judged.rows.column_names[:1]
        answers, page = ask_great_expectations(judged.rows.select(columns).to_pandas(), asked)
        for item, answer in zip(asked, answers, strict=True):
            if item.type not in COUNTED:
                checks.append(line_of(item, answer, advice, params.data.target))
        seen = _seen(judged, len(asked))
    checks += check_account(judged.total, account)
    checked = judged.rows.num_rows if seen and judged.rows is not None else 0
    conclude(checks, judged.total, checked, (seen, page), verdict, docs, account)


if __name__ == "__main__":
    stage.run(main)
