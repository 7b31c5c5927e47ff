"""What a gate on data leaves behind: its verdict as JSON, a page, and, where it is red, the error that ends the stage."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.validation.checks import KINDS, Check, plain

STYLE = """<style>
:root{color-scheme:light dark;--bad:#b00020;--good:#1b7837;--doubt:#8a6100}
body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin:.5rem 0}
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #8884}
td{overflow-wrap:anywhere;min-width:5.5rem}
h1.failed,tr.failed td:first-child,.fa-times{color:var(--bad);font-weight:bold}
h1.passed,tr.passed td:first-child,.fa-check-circle{color:var(--good)}
tr.warning td:first-child{color:var(--doubt);font-weight:bold}
h5{font-size:1.2rem;margin:1.5rem 0 0} h6{font-size:1rem;margin:.5rem 0 0}
.fa-times::before{content:"failed"} .fa-check-circle::before{content:"passed"} .fa-exclamation-triangle::before{content:"error"}
td:first-child,th:first-child{white-space:nowrap}
.checks td:nth-child(2),.checks td:nth-child(3){min-width:8.5rem}
.col-lg-2 .card,.collapse,a[data-toggle]{display:none} ol,ul{list-style:none;padding:0}
@media (prefers-color-scheme:dark){:root{--bad:#ff7b8a;--good:#57c271;--doubt:#d8a43b} a{color:#6ccf89}}
@media (max-width:45rem){
.checks tr:first-child,.checks td:empty{display:none} .checks td{display:block;border:0;padding:.1rem 0}
.checks tr{display:block;border-bottom:1px solid #8884;padding:.5rem 0}
.checks td:not(:first-child)::before{content:attr(data-of) ": ";opacity:.7}
}
</style>"""


def conclude(title: str, checks: Sequence[Check], found: Mapping[str, Any], told: str, verdict: Path, docs: Path) -> None:
    """Write the verdict and the page, print the warnings, and only then raise for what is critical.

    Args:
        found: what the verdict says beside the checks; `rows` among it. told: HTML, what stands above the table.

    Raises:
        EvergreenError: a critical check failed; all of them are listed.
    """
    failed = [check for check in checks if not check.success]
    critical = [check for check in failed if check.severity == "critical"]
    stage.write_json(verdict, {"success": not critical, **found, "checks": [asdict(check) for check in checks]})
    stage.write_text(docs / "index.html", page(title, checks, told))
    for check in failed:
        if check.severity == "warning":
            stage.say(f"WARNING: {check}")
    counted = f"{len(critical)} critical failures, {len(failed) - len(critical)} warnings"
    stage.say(f"{len(checks)} checks of {found['rows']} rows: {counted}.")
    if critical:
        lines = [f"  {check}" for check in critical]
        raise EvergreenError("\n".join([f"{len(critical)} critical checks failed. Report: {docs / 'index.html'}", *lines]))


def page(title: str, checks: Sequence[Check], told: str) -> str:
    """All checks as one HTML page, what failed first."""
    ranks = {(False, "critical"): "failed", (False, "warning"): "warning"}
    headings = ["Result", "Check", "Column", "Expected", "Found"]
    if not all(check.success for check in checks):
        headings += ["What is wrong", "What to do"]
    lines = []
    for check in sorted(checks, key=lambda check: (check.success, check.severity)):
        rank = ranks.get((check.success, check.severity), "passed")
        said = ("", "") if check.success else (KINDS.get(check.kind, ""), check.advice)
        cells = [rank, check.type, plain(check.column), check.expected, check.observed, *said]
        named = zip(headings, cells, strict=False)  # of passed checks there is nothing to say beyond what was found
        row = "".join(f'<td data-of="{heading}">{html.escape(cell)}</td>' for heading, cell in named)
        lines.append(f'<tr class="{rank}">{row}</tr>')
    red = any(not check.success and check.severity == "critical" for check in checks)
    word = "failed" if red else "passed"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title} {word}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">{STYLE}</head><body>'
        f'<h1 class="{word}">{title} {word}</h1><p>{told}</p><table class="checks">'
        f"<tr>{''.join(f'<th>{heading}</th>' for heading in headings)}</tr>{''.join(lines)}</table></body></html>"
    )
