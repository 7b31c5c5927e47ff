"""A table with a real crisis in it through the real backfill: a month without rows, and a retraining that labels ask for."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv
import pytest

from monitoring import store
from pipelines import postgres
from pipelines.settings import Settings
from tests.clones import Clone
from tests.e2e.test_any_table import QUICK
from tests.e2e.test_watching import begin, finished
from tests.monitoring import crisis

pytestmark = pytest.mark.long
EMPTY = crisis.CRISIS + 1  # April 2008; the crisis begins in March
LAST, CALLS = crisis.CRISIS + 3, 2500
MONTHS = ["2008-01", "2008-02", "2008-03", "2008-04", "2008-05", "2008-06"]


@pytest.fixture(scope="module")
def watched(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The first version is as of the end of 2007; a month's calls are all dated to its last day: one day to score a month."""
    load(stack.load_url)
    changes = QUICK | {"audit.min_rows": 50}
    clone = Clone.make(tmp_path_factory.mktemp("calls") / "clone", (stack.folder / ".env").read_text(), changes)
    roles = ("--target", "subscribed", "--id", "call", "--time", "called_on", "--horizon", "30", "--embargo", "14")
    clone.evergreen("init", "calls", "--table", "public.calls", *roles)
    clone.set_params({"monitor.of_window": "newest day", "monitor.min_positives": 20})
    clone.commit("A table of our own")
    clone.deploy()
    clone.retrain(as_of="2007-12-31")
    finished(begin(clone, "backfill", start="2008-01-01", end="2008-06-30"), 1800)
    return clone


def load(url: str) -> None:
    months = [crisis.month(number, 1, calls=CALLS, empty=EMPTY) for number in range(1, LAST + 1)]
    rows = pa.concat_tables(months).drop_columns(["month"])
    with postgres.connect(url) as connection:
        connection.execute(
            "drop table if exists calls; create table calls (call bigint primary key, called_on date, age float8, job text, "
            "balance float8, earlier_contacts bigint, index float8, rate float8, subscribed bigint)"
        )
        with connection.cursor().copy("copy calls from stdin (format csv)") as copy:
            buffer = pa.BufferOutputStream()
            pa.csv.write_csv(rows, buffer, pa.csv.WriteOptions(include_header=False))
            copy.write(buffer.getvalue().to_pybytes())
        connection.execute(
            "update calls set called_on = (date_trunc('month', called_on) + interval '1 month - 1 day')::date;"
            "grant select on calls to public"
        )


def test_a_month_without_rows_is_a_window_and_the_backfill_goes_on(watched: Clone) -> None:
    judged = {one.window_key: one for one in store.verdicts(watched.settings.evergreen_url, "calls")}
    assert list(judged) == MONTHS
    assert judged["2008-04"].row_count == 0 and "No row came." in judged["2008-04"].why


def test_nothing_is_quarantined_and_a_retraining_is_asked_for_as_soon_as_labels_show_the_loss(watched: Clone) -> None:
    judged = {one.window_key: one for one in store.verdicts(watched.settings.evergreen_url, "calls")}
    assert "block" not in {one.action for one in judged.values()}
    assert judged["2008-05"].action == "retrain" and "2008-03: roc_auc is" in judged["2008-05"].why
    assert judged["2008-05"].figures["seen_from"] == {"window": "2008-03", "day": "2008-05-14"}
    begun = store.retrainings(watched.settings.evergreen_url, "calls")[0]
    assert begun.cause == "2008-05" and begun.outcome is not None


def test_the_first_page_says_what_was_tried_and_never_that_all_is_well(watched: Clone) -> None:
    page = (watched.settings.home / "site" / "index.html").read_text()
    section = page[: page.index("by window")]
    assert "calls: nothing needs attention" not in section
    assert "Tried: retraining as of 2008-05-31" in section and "A retraining as of 2008-05-14 or later can see it" in section
