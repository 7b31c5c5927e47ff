"""The reports: planted figures are on the pages, and nothing of a row, an entity or a script is."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from monitoring.reports import bias
from monitoring.reports import data as data_page
from monitoring.reports.columns import Columns
from monitoring.stages import audit, report
from pipelines import sanitize
from tests.support.golden import assert_golden

PARAMS = Path(__file__).parents[2] / "params.yaml"
PAYLOADS = ["<script>alert('x')</script>", "=cmd()", "\u202eevil", "<img src=x onerror=alert(1)>"]
COLUMN = "</script><b onclick=alert(1)>usage"


class Page(HTMLParser):
    """Tags and attribute names of a page, and the text outside Evidently's own program."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}


def planted(rows=1600):
    """Training rows: a canary in every entity and free text, payloads as values; recall 0.95 of f and 0.30 of the rest."""
    gender = np.array(["f", PAYLOADS[0]])[np.arange(rows) % 2]
    label = (np.arange(rows) // 2) % 4 == 0
    order = np.arange(rows) // 8
    found = np.where(gender == "f", order % 20 < 19, order % 20 < 6)
    selected = np.where(label, found, order % 10 == 0)
    numbers = np.random.default_rng(1).normal(size=rows)
    return pa.table(
        {
            "customer_id": [f"canary-{number}" for number in range(rows)],
            "snapshot_date": ["2024-12-31"] * rows,
            "churned": label.astype(np.int32),
            "gender": gender,
            "plan": np.array(PAYLOADS)[np.arange(rows) % 4],
            "notes": [f"canary-{number}" for number in range(rows)],
            COLUMN: np.where(np.arange(rows) == 7, 987654.321, numbers),
            "tickets": pa.array([None if number % 3 == 0 else number % 5 for number in range(rows)], pa.int64()),
            "score_linear": np.where(selected, 0.9, 0.1),
        }
    )


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """name -> page, of a table with a time column."""
    return render(tmp_path_factory.mktemp("report"), planted(), late=True)


def render(folder, rows, *, late, time="snapshot_date"):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        values = YAML(typ="safe").load(PARAMS)
        values["data"] |= {"entity": "customer_id", "time": time, "target": "churned", "protected": ["gender"]}
        values["evaluate"] |= {"bootstrap": 100}
        values["audit"]["report_rows"] = 500
        YAML().dump(values, Path("params.yaml"))
        pq.write_table(rows.drop_columns(["score_linear"]), "training.parquet")
        judged = rows.select(["customer_id", "churned", "gender", "score_linear"])
        newest = pa.array([index % 2 == 0 or not late for index in range(len(rows))])
        pq.write_table(judged.append_column("newest", newest), "scores.parquet")
        schema = {"numbers": [COLUMN, "tickets"], "categories": {"plan": PAYLOADS, "notes": []}}
        evaluation = {"challenger": "linear", "candidates": {"linear": {"threshold": 0.5}}}
        for name, value in {"schema": schema, "evaluation": evaluation}.items():
            Path(f"{name}.json").write_text(json.dumps(value))
        ins = {name: Path(f"{name}.parquet") for name in ("scores", "training")}
        ins |= {name: Path(f"{name}.json") for name in ("schema", "evaluation")} | {"audit": Path("audit.json")}
        audit.main(**ins, models=Path("models"), ensemble=Path("ensemble"))
        report.main(**ins, pages=Path("pages"))
        return {path.name: path.read_text() for path in Path("pages").iterdir()}


def test_every_page_is_there_is_linked_and_is_under_six_megabytes(pages):
    assert pages.keys() == {"index.html", "bias.html", "classification.html", "data.html", "drift.html"}
    for name, page in pages.items():
        assert len(page.encode()) < 6_000_000, name
        assert name == "index.html" or f'href="{name}"' in pages["index.html"]
        assert '<meta name="viewport"' in page


def test_planted_recalls_are_on_the_bias_report(pages):
    assert "0.950 [" in pages["bias.html"]
    assert "0.300 [" in pages["bias.html"]
    assert "0.650 [" in pages["bias.html"]  # the largest difference, and the shortfall against the rest
    assert "<div>significant</div>" in pages["bias.html"]
    assert "no model sees it" in pages["bias.html"]
    assert "gender: significant" in pages["index.html"]
    assert "explained by risks" in pages["bias.html"] and "added TPR shortfall" in pages["bias.html"]


def test_the_bias_report_shows_who_is_within_the_capacity():
    value = {"point": 0.1, "low": 0.0, "high": 0.2}
    at_capacity = {"selection_rate": value, "tpr": value, "precision": None}
    group = {"group": "a", "evidence": "sufficient", "at_capacity": at_capacity}
    table = bias.capacity_table({"attributes": {"g": [group]}, "pairs": {}})
    assert table.rows[0] == ["g", "a", "sufficient", "0.100 [0.000,\xa00.200]", "0.100 [0.000,\xa00.200]", "none"]
    del group["at_capacity"]
    assert bias.capacity_table({"attributes": {"g": [group]}, "pairs": {}}).rows == []


def test_the_bias_report_says_who_accepted_what_and_splits_each_gap():
    value = {"point": 0.1, "low": 0.0, "high": 0.2}
    one = {"attribute": "g", "group": "a", "measure": "m", "limit": 0.1, "finding": "significant"} | value
    other = one | {"group": "b"}
    gap = {"attribute": "g", "group": "a", "rate": "TPR shortfall", "raw": value, "explained": None, "added": value}
    found = {"harm": [one, other], "split": [gap], "verdict": {"accepted": [one | {"reason": "agreed <b>with</b> all"}]}}
    table = bias.harm_table(found)
    assert [row[-1] for row in table.rows] == [f"accepted: {sanitize.text('agreed <b>with</b> all')}", "significant"]
    assert bias.split_table(found).rows[0][3:] == ["+0.100 [+0.000, +0.200]", "none", "+0.100 [+0.000, +0.200]"]
    assert bias.split_table({"verdict": {}}).rows == []  # of a window of earlier days


def test_no_page_holds_a_canary_or_anything_that_a_browser_would_run(pages):
    for name, page in pages.items():
        assert "canary" not in page, name
        assert "987654" not in page, name  # the one value that a histogram's end would give away
        for hostile in [*PAYLOADS, COLUMN, "onclick=alert", "onerror=alert", "\u202e"]:
            assert hostile not in page, (name, hostile)
        assert not Page(page).attributes & {"onerror", "onclick", "onload"}, name
        assert not Page(page).tags & {"img", "b"}, name
    assert "script" not in Page(pages["data.html"]).tags
    assert "_script_alert(_x_)__script_" in pages["data.html"]


def test_the_classification_report_uses_the_threshold_it_is_given():
    """Every score is below 0.5, which Evidently would take, and above the threshold."""
    from monitoring.reports import classification

    scored = audit.pd.DataFrame({"label": [0, 1] * 50, "score": np.linspace(0.2, 0.4, 100)})
    page = classification.page("churn", scored, 0.1, 100, what="rows", see_also="elsewhere", seed=1)
    recall = re.search(r'"value": "([\d.]+)", "label": "Recall"', page)[1]
    assert float(recall) == 1.0


def test_samples_are_bounded_and_said(pages):
    assert "Current: 500 of 800 rows of the newest snapshots" in pages["drift.html"]
    assert "Reference: 500 of 800 training rows of earlier snapshots" in pages["drift.html"]
    assert "500 of 1,600 rows, out of fold" in pages["classification.html"]


def test_one_snapshot_is_compared_with_nothing_and_the_index_says_so(tmp_path):
    pages = render(tmp_path, planted(800), late=False)
    assert "drift.html" not in pages
    assert "there is one snapshot only" in pages["index.html"]


def test_without_a_time_column_there_is_no_drift_page_and_the_index_says_why(tmp_path):
    pages = render(tmp_path, planted(800), late=False, time=None)
    assert "drift.html" not in pages
    assert "nothing can be said about time" in pages["index.html"]


# what the data looks like


def frame(**columns):
    return audit.pd.DataFrame(columns)


def test_statistics_of_numbers_and_texts():
    numbers = audit.pd.Series([1.0, 2.0, 3.0, np.nan])
    assert data_page.number_line("n", numbers)[:6] == ["n", "25.0%", "3", "2", "0.8165", "1.02"]
    assert data_page.number_line("n", -numbers)[3] == "−2"  # a cell that begins with a hyphen becomes inert text
    texts = audit.pd.Series(["a", "a", "b", "(other)", "(missing)"], dtype=object)
    assert data_page.text_line("t", texts) == ["t", "20.0%", "2", "a", "40.0%", "20.0%"]
    assert data_page.number_line("n", audit.pd.Series([np.nan] * 3))[:3] == ["n", "100.0%", "0"]


def test_a_rate_by_value_needs_rows_and_counts_customers():
    column = audit.pd.Series([0.0] * 100 + [1.0] * 100 + [2.0] * 5)
    labels, entities = np.array([0, 1] * 50 + [1] * 100 + [1] * 5), np.arange(205)
    bins = data_page.binned(column, labels, entities, 0.95)
    assert [one.label for one in bins] == ["0", "1", "2"]
    assert [one.rate and round(one.rate[0], 3) for one in bins] == [0.5, 1.0, None]
    few = data_page.rate_interval(np.repeat([0, 1] * 10, 10), np.repeat(np.arange(20), 10), 0.95)
    many = data_page.rate_interval(np.repeat([0, 1] * 10, 10), np.arange(200), 0.95)
    assert few[2] - few[1] > 2 * (many[2] - many[1])


def test_wilsons_interval_is_scipys_when_every_row_is_a_customer():
    from scipy.stats import binomtest

    labels = np.array([1] * 7 + [0] * 93)
    theirs = binomtest(7, 100).proportion_ci(0.95, method="wilson")
    assert data_page.rate_interval(labels, np.arange(100), 0.95)[1:] == pytest.approx((theirs.low, theirs.high))
    low, high = data_page.rate_interval(np.zeros(50), np.arange(50), 0.95)[1:]
    assert low == pytest.approx(0, abs=1e-12) and 0.05 < high < 0.1


def test_bins_of_whole_numbers_hold_as_many_of_them_each():
    edges = data_page.bin_edges(np.arange(100.0))
    assert len(edges) <= data_page.BINS + 1
    assert len(set(np.diff(edges))) == 1 and (edges == edges.round()).all()


def test_only_values_that_the_model_knows_are_shown():
    columns = Columns.of({"numbers": ["n"], "categories": {"city": ["Rome"]}}, {"gender": ["f"]})
    rows = pa.table(
        {"n": [1.0, float("inf"), None], "city": ["Rome", "a rare one", None], "gender": ["f", "f", ""], "id": [1, 2, 3]}
    )
    shown = columns.frame(rows)
    assert shown["city"].tolist() == ["Rome", "(other)", "(missing)"]
    assert shown["gender"].tolist() == ["f", "f", "(missing)"]
    assert np.isnan(shown["n"]).tolist() == [False, True, True]
    assert "id" not in shown.columns


def test_the_data_page_is_as_it_was_looked_at_and_its_bars_have_an_axis_of_their_own():
    columns = Columns.of({"numbers": ["a_number"], "categories": {"city": ["Rome", "Oslo"]}}, {})
    rows = pa.table({"a_number": [float(at % 4) for at in range(400)], "city": ["Rome", "Rome", "Oslo", None] * 100})
    given = ("churn", columns.frame(rows), columns, np.arange(400) % 8 // 7, np.arange(400), 0.95)
    (number, city) = data_page.view(*given)["charts"]
    assert [label for label, _ in number["shares"]] == ["0%", "12%", "25%"]
    assert [label for label, _ in city["shares"]] == ["0%", "25%", "50%"] and city["rates"] != city["shares"]
    assert_golden("data.html", data_page.page(*given))


def test_values_that_would_look_alike_stay_apart():
    assert sanitize.names(["a<b", "a>b", "größe", ""]) == {"a<b": "a_b", "a>b": "a_b (2)", "größe": "größe", "": "(empty)"}
