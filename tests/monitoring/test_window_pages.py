"""A window's pages, of made-up rows: which are made, what they say, that they are bounded and that nothing in them runs."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitoring.histograms import PREDICTION
from monitoring.reports import drift, window, window_pages
from monitoring.reports.columns import Columns
from monitoring.reports.window import Details
from monitoring.stages import audit
from monitoring.timeline import Window
from pipelines.config import params as parameters
from tests.support.hostile import LONG, PAYLOADS

ATTACKS = [*PAYLOADS, LONG]
COLUMN, GROUP = "</script><b onclick=alert(1)>usage", "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def params():
    return parameters.read(Path(__file__).parents[2] / "params.yaml")


def details():
    shown = Window("2025-09", 3, 4000, "info", "It moved.", None, date(2025, 10, 1), None, None, "mature", {})
    empty = {name: {} for name in ("reference", "estimates", "performance", "statistics")}
    rest = {"findings": [], "drift": None, "judgements": []}
    return Details("churn", "us", "roc_auc", shown, "../index.html", "", **empty, **rest)


def rows(count, seed):
    random = np.random.default_rng(seed)
    return pa.table(
        {
            COLUMN: random.normal(size=count),
            "plan": np.array(ATTACKS)[random.integers(len(ATTACKS), size=count)],
            "gender": np.array(["f", GROUP])[np.arange(count) % 2],
            "email": [f"canary-{at}" for at in range(count)],
            PREDICTION: random.uniform(size=count),
        }
    )


def labelled(count):
    """A group is underestimated and found less often: recall 0.95 against 0.30."""
    at = np.arange(count)
    group, label, order = np.array(["f", GROUP])[at % 2], (at // 2) % 4 == 0, at // 8
    chosen = np.where(label, np.where(group == "f", order % 20 < 19, order % 20 < 6), order % 10 == 0)
    columns = {"label": label.astype(int), "score": np.where(chosen, 0.9, 0.1), "group_gender": group, "entity": at}
    return audit.pd.DataFrame(columns)


COLUMNS = Columns.of({"numbers": [COLUMN], "categories": {"plan": ATTACKS}}, {"gender": ["f", GROUP]})


@pytest.fixture(scope="module")
def pages(params):
    mature = labelled(1600)
    evaluate = params.evaluate.model_copy(update={"bootstrap": 100})
    found = audit.measure(mature, 0.5, ["gender"], params.audit, evaluate)
    made = window_pages.Rows(rows(800, 1), 4000, rows(900, 2), 90000, mature.drop(columns="entity"), 1600)
    reports = window_pages.render_window(details(), made, COLUMNS, audit=found, threshold=0.5, report_rows=500, seed=1)
    return {"index.html": window.page(details(), reports), **reports}


def test_all_pages_are_made_linked_and_under_six_megabytes(pages):
    assert pages.keys() == {"index.html", "drift.html", "bias.html", "classification.html"}
    for name, page in pages.items():
        assert len(page.encode()) < 6_000_000, name
        assert name == "index.html" or f'href="{name}"' in pages["index.html"]


def test_each_page_says_its_sample_and_leads_back_to_the_window(pages):
    assert "Current: 500 of 4,000 rows of window 2025-09, scored by version 3." in pages["drift.html"]
    assert "Reference: 500 of 90,000 rows that version 3 was trained on." in pages["drift.html"]
    assert "500 of 1,600 rows of window 2025-09 with a mature label" in pages["classification.html"]
    assert "All 1,600 rows of window 2025-09 with a mature label, of 1,600 entities" in pages["bias.html"]
    assert "The sample: 500 rows." in pages["bias.html"]
    for name in ("drift.html", "bias.html", "classification.html"):
        assert '<a href="../index.html">Evergreen</a>' in pages[name] and '<a href="index.html">churn: window' in pages[name]


def test_each_page_begins_with_the_windows_verdict_and_evidently_has_none_of_its_own(pages):
    for name in ("drift.html", "classification.html"):
        assert 0 < pages[name].index("● info</span> It moved.") - pages[name].index("<body") < 1500, name
    for words in ("Dataset Drift is", "Drift is detected for"):
        assert words not in pages["drift.html"]
    assert drift.COLUMNS in pages["drift.html"]


def test_a_disparity_that_only_later_labels_show_comes_before_what_was_decided_without_them(pages):
    begun = pages["bias.html"].partition("</h1>")[2]
    shown = begun.index("◆ review</span> The labels known by now show a significant disparity: gender")
    assert 0 < shown < begun.index("Decided on 2025-10-01, before these labels: It moved.") < 1500


def test_the_scores_are_among_the_columns_that_drift(pages):
    assert "score of the model" in pages["drift.html"]


def test_planted_bias_is_on_the_page_and_nothing_of_the_training_stage(pages):
    assert "0.650 [" in pages["bias.html"]
    assert "<div>significant</div>" in pages["bias.html"]
    assert "left out" not in pages["bias.html"]
    assert "held-out" not in pages["bias.html"]


def test_no_page_holds_a_canary_or_anything_that_a_browser_would_run(pages):
    for name, page in pages.items():
        for hostile in [*ATTACKS, COLUMN, GROUP, "canary", "onclick=alert", "onerror=alert", "\u202e"]:
            assert hostile not in page, (name, hostile)


def test_before_labels_are_mature_there_is_no_bias_and_no_classification_page():
    made = window_pages.Rows(rows(60, 1), 60, rows(80, 2), 80)
    found = window_pages.render_window(details(), made, COLUMNS, audit=None, threshold=0.5, report_rows=500, seed=1)
    assert found.keys() == {"drift.html"}
    assert "bias.html" not in window.page(details(), found)


def test_labels_of_one_kind_give_no_classification_page():
    mature = labelled(40).assign(label=0)
    made = window_pages.Rows(rows(60, 1), 60, rows(80, 2), 80, mature, 40)
    found = window_pages.render_window(details(), made, COLUMNS, audit=None, threshold=0.5, report_rows=500, seed=1)
    assert found.keys() == {"drift.html"}


def test_a_drift_page_that_is_there_is_not_made_again():
    made = window_pages.Rows(mature=labelled(80), mature_rows=80)
    found = window_pages.render_window(details(), made, COLUMNS, audit=None, threshold=0.5, report_rows=500, seed=1)
    assert found.keys() == {"classification.html"}


PLAIN = Columns.of({"numbers": ["calls", "bill"], "categories": {"plan": ["a", "b", "c"]}}, {})


def plain(count, **changes):
    random = np.random.default_rng(count)
    columns = {"calls": random.normal(size=count), "bill": random.normal(size=count), "plan": ["a", "b"] * (count // 2)}
    return pa.table(columns | changes)


@pytest.mark.parametrize(
    "odd",
    [
        plain(200, calls=np.full(200, 3.0)),
        plain(200, calls=np.full(200, np.nan)),
        plain(200, plan=pa.nulls(200, pa.string())),
        plain(200, plan=["unheard of"] * 200),
        plain(2),
        plain(0, plan=pa.array([], pa.string())),
    ],
    ids=["constant", "missing", "no text", "unknown text", "two rows", "no rows"],
)
@pytest.mark.parametrize("side", ["current", "reference"])
def test_the_drift_page_copes_with_columns_that_say_nothing(odd, side):
    sides = {"current": plain(300), "reference": plain(300)} | {side: odd}
    one, other = (drift.Side(PLAIN.frame(table), table.num_rows, "rows") for table in sides.values())
    page = drift.page("a window", one, other, PLAIN, 1000, decided_by="nobody.", seed=1)
    assert f"{odd.num_rows:,} of {odd.num_rows:,} rows" in page
    assert ("Left out, since one side has no value at all: calls" in page) == (odd["calls"].to_pandas().isna().all())


def test_columns_of_a_score_that_is_called_like_ours_stay_apart():
    columns = Columns.of({"numbers": ["score of the model"], "categories": {}}, {}).with_score(PREDICTION)
    assert sorted(columns.shown) == ["score of the model", "score of the model (2)"]
