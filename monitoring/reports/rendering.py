"""How Evidently's pages are made: what we say first, in our own words and style, then its metrics, in a page that fits a phone.

Evidently writes what it is given into the page as it is, scripts included. So whoever calls this makes names and values
inert first (pipelines/sanitize.py), and no entity ever comes here.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitoring.reports import render as render_template
from pipelines.page import Table, Trail, framed

if TYPE_CHECKING:
    import pandas as pd

STYLE = Path(__file__).parent / "templates" / "evidently.css"
EMPTY = "<html><head></head><body></body></html>"
REPORTS: Trail = [("Evergreen", ""), ("reports", "index.html")]  # as a stage makes them: every folder of reports has an index


def render(
    title: str,
    statement: Sequence[str],
    metrics: list[Any],
    rows: pd.DataFrame,
    definition: Any,
    *,
    reference: pd.DataFrame | None = None,
    tables: Sequence[tuple[str, Table]] = (),
    trail: Trail = REPORTS,
    verdict: Mapping[str, Any] | None = None,
) -> str:
    """A whole HTML page; one without metrics is what we say alone.

    Args:
        statement: paragraphs below the title.
        definition: Evidently's DataDefinition of `rows` and `reference`; nothing is left to its guesses.
        tables: what stands above its metrics, each with its heading.
        trail: of the page above. verdict: what the page begins with (monitoring.reports.window.verdict_of).
    """
    top = render_template("evidently.html", title=title, statement=statement, verdict=verdict, tables=tables)
    page = _evidently(metrics, rows, definition, reference) if metrics else EMPTY
    return framed(page, title, [*trail, (title.rpartition(": ")[2], "")], top, STYLE.read_text(encoding="utf-8"))


def _evidently(metrics: list[Any], rows: pd.DataFrame, definition: Any, reference: pd.DataFrame | None) -> str:
    from evidently import Dataset, Report
    from sklearn.exceptions import UndefinedMetricWarning

    with warnings.catch_warnings():
        # a constant column, a category that one side lacks, nobody selected: it divides by zero, and the page shows the outcome
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UndefinedMetricWarning)
        snapshot = Report(metrics).run(
            Dataset.from_pandas(rows.reset_index(drop=True), data_definition=definition),
            None if reference is None else Dataset.from_pandas(reference.reset_index(drop=True), data_definition=definition),
        )
        return str(snapshot.get_html_str(as_iframe=False))
