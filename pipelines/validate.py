"""The gate before anything is learnt: are the extracted rows what the pipeline and their owner expect?

Two kinds of checks, one verdict: the pipeline's own (checks.py) and the owner's (expectations.py).
"""

from __future__ import annotations

import html
import json
import re
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from pipelines import params as parameters
from pipelines import stage
from pipelines.checks import LOOK, Check, absent, check_columns, check_labels, check_shape, declared, plain, survey
from pipelines.errors import EvergreenError
from pipelines.expectations import Expectation, judge, read_expectations, sample, sort_out
from pipelines.params import DataParams

STYLE = """<style>
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #ddd;overflow-wrap:anywhere;min-width:4rem}
h1.failed,tr.failed td:first-child,.fa-times{color:#b00020;font-weight:bold}
h1.passed,tr.passed td:first-child,.fa-check-circle{color:#1b7837}
tr.warning td:first-child{color:#8a6100;font-weight:bold}
h5{font-size:1.2rem;margin:1.5rem 0 0} h6{font-size:1rem;margin:.5rem 0 0}
.fa-times::before{content:"failed"} .fa-check-circle::before{content:"passed"} .fa-exclamation-triangle::before{content:"error"}
td:first-child,th:first-child{white-space:nowrap}
.col-lg-2 .card,.collapse,a[data-toggle]{display:none} ol,ul{list-style:none;padding:0}
</style>"""


def main(*, rows: Path, manifest: Path, expectations: Path, verdict: Path, docs: Path) -> None:
    """Judge `rows`; write the verdict and the pages in `docs`, and only then fail if a critical check is red."""
    params = parameters.read()
    data = params.data
    owned = read_expectations(expectations)
    described = json.loads(manifest.read_text("utf-8"))
    with stage.phase("read"):
        (total, facts), digest = survey(rows), stage.sha256(rows)
    checks = check_shape(total, facts, digest, described, relied(owned, data), params.validate_.min_rows)
    hidden = {*data.keys, data.target, *params.features.exclude} - set(data.protected)
    checks += check_columns(total, {name: fact for name, fact in facts.items() if name not in hidden})
    usable = total > 0 and not absent(declared(data), facts)
    if usable:
        with stage.phase("read"):
            labels = pq.read_table(rows, columns=[*data.keys, data.target])
        checks += check_labels(labels, data, params.validate_)
    advice = f"{LOOK} Or change {expectations}."
    fitting, unfit = sort_out(owned, facts, advice, sampled=total > params.validate_.max_rows_checked)
    checked = min(total, params.validate_.max_rows_checked) if usable and fitting else 0
    page = ""
    if checked:
        columns = list(dict.fromkeys(name for item in fitting for name in item.columns))
        with stage.phase("read"):
            sampled = sample(rows, columns, checked)
        judged, page = judge(sampled, fitting, advice)
        checks += judged
    conclude(checks + unfit, total, checked, page, verdict, docs)


def relied(owned: list[Expectation], data: DataParams) -> dict[str, str]:
    """Columns that params.yaml and the expectations name, each with the severity of its loss."""
    wished = {name: item.severity for item in owned for name in item.columns}
    vital = [name for item in owned if item.severity == "critical" for name in item.columns]
    return wished | dict.fromkeys([*vital, *declared(data)], "critical")


def conclude(checks: list[Check], total: int, checked: int, owner_page: str, verdict: Path, docs: Path) -> None:
    """Write the verdict and the pages, print the warnings, and raise for what is critical.

    Raises:
        EvergreenError: a critical check failed; all of them are listed.
    """
    failed = [check for check in checks if not check.success]
    critical = [check for check in failed if check.severity == "critical"]
    found = {"success": not critical, "rows": total, "checked_rows": checked}
    stage.write_json(verdict, found | {"checks": [asdict(check) for check in checks]})
    stage.write_text(docs / "index.html", verdict_page(checks, total, checked, bool(owner_page)))
    if owner_page:
        stage.write_text(docs / "great_expectations.html", offline(owner_page))
    else:
        (docs / "great_expectations.html").unlink(missing_ok=True)  # of an earlier run: not about these rows
    for check in failed:
        if check.severity == "warning":
            stage.say(f"WARNING: {check}")
    stage.say(
        f"{len(checks)} checks of {total} rows: {len(critical)} critical failures, {len(failed) - len(critical)} warnings."
    )
    if critical:
        lines = [f"  {check}" for check in critical]
        raise EvergreenError("\n".join([f"{len(critical)} critical checks failed. Report: {docs / 'index.html'}", *lines]))


def verdict_page(checks: list[Check], total: int, checked: int, has_owner_page: bool) -> str:
    """All checks as one HTML page, what failed first."""
    ranks = {(False, "critical"): "failed", (False, "warning"): "warning"}
    lines = []
    for check in sorted(checks, key=lambda check: (check.success, check.severity)):
        rank = ranks.get((check.success, check.severity), "passed")
        cells = [rank, check.type, plain(check.column), check.expected, check.observed, "" if check.success else check.advice]
        lines.append(f'<tr class="{rank}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    red = any(not check.success and check.severity == "critical" for check in checks)
    seen = "all of them" if checked == total else f"a sample of {checked}, drawn evenly over the file"
    link = (
        f'<a href="great_expectations.html">Great Expectations</a> saw {seen}.'
        if has_owner_page
        else "Great Expectations was not asked."
    )
    word = "failed" if red else "passed"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Validation {word}</title>{STYLE}</head><body>'
        f'<h1 class="{word}">Validation {word}</h1><p>{total} rows. {link}</p>'
        "<table><tr><th>Result</th><th>Check</th><th>Column</th><th>Expected</th><th>Found</th><th>What to do</th></tr>"
        f"{''.join(lines)}</table></body></html>"
    )


def offline(page: str) -> str:
    """A page of Data Docs that needs no network: its styles, scripts and pictures come from six foreign hosts."""
    page = re.sub(r"<(script|style|footer)\b.*?</\1>|<(link|img)\b[^>]*>", "", page, flags=re.S)
    page = re.sub(r'href="[^"#]*index\.html"', 'href="index.html"', page)
    page = re.sub(r'<a\b[^>]*href="(?:\.\./|https?:)[^>]*>(.*?)</a>', r"\1", page, flags=re.S)
    return page.replace("</head>", f"{STYLE}</head>", 1)


if __name__ == "__main__":
    stage.run(main)
