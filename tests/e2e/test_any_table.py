"""Tables that nobody prepared, from `evergreen init` to scores and verdicts, beside other models on one stack."""

from __future__ import annotations

import datetime as dt

import pytest

from flows.execution.workspace import git
from monitoring import store
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger
from pipelines.scoring import predictions
from tests.support import odd
from tests.support.clones import REPOSITORY, Clone
from tests.support.runs import begin, finished, run_score

pytestmark = pytest.mark.long
QUICK = {
    "evaluate.bootstrap": 200, "split.folds": 5, "tune.trials": 2, "candidates.enabled": {"linear": "cpu", "lightgbm": "cpu"}
}  # fmt: skip


def initialised(stack: Settings, folder, *options: str) -> Clone:
    """A clone on the stack in which `evergreen init` was run, and nothing else was done."""
    clone = Clone.make(folder / "clone", (stack.folder / ".env").read_text())
    clone.evergreen("init", *options)
    clone.set_params(QUICK)  # init spends more on a table of few rows
    clone.commit("A table of our own")
    clone.deploy()
    return clone


@pytest.fixture(scope="module")
def timeless(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The table of every odd name and value, retrained once."""
    odd.create(stack.load_url)
    roles = ("--protected", "flag", "--personal", "name", "--available-after", "took", "--exclude", "thousands")
    named = ("odd", "--table", odd.TABLE, "--target", "Will churn?", "--id", "Customer No.")
    clone = initialised(stack, tmp_path_factory.mktemp("odd"), *named, *roles)
    clone.retrain()
    return clone


@pytest.fixture(scope="module")
def log(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Rows that come once, beside it on the stack; retrained as of August."""
    odd.create_log(stack.load_url)
    named = ("order-log", "--table", "odd schema.Order log", "--target", "where", "--positive", "2", "--id", "Order")
    clone = initialised(stack, tmp_path_factory.mktemp("log"), *named, "--time", "On Day", "--horizon", "10")
    clone.retrain(as_of="2024-08-31")
    return clone


def test_every_odd_name_and_value_ends_with_a_champion(timeless: Clone) -> None:
    champion = ledger.champion(timeless.settings.evergreen_url, "odd")
    assert champion is not None and champion.metrics["roc_auc"] > 0.65


def test_no_python_was_edited(timeless: Clone) -> None:
    for name in git(timeless.folder, "ls-files", "*.py", "dvc.yaml").splitlines():
        assert (timeless.folder / name).read_bytes() == (REPOSITORY / name).read_bytes(), name


def test_the_pages_say_that_nothing_can_be_said_about_time(timeless: Clone) -> None:
    timeless.evergreen("model", "checkout", "v1")
    assert "nothing can be said about time" in (timeless.folder / "reports/model/index.html").read_text()
    assert "a table without dates" in (timeless.folder / "bundle/card.md").read_text()


def test_everyone_is_scored_with_a_label_or_without(timeless: Clone) -> None:
    run_score(timeless)
    run = predictions.latest_run(timeless.settings.evergreen_url, "odd")
    assert (run.state, run.row_count) == ("complete", 1500)


def test_a_window_of_it_is_judged_by_what_was_scored(timeless: Clone) -> None:
    last = dt.date.today().replace(day=1) - dt.timedelta(days=1)
    run_score(timeless, as_of=str(last))
    finished(begin(timeless, "monitor", window=f"{last:%Y-%m}"))
    (judged,) = store.verdicts(timeless.settings.evergreen_url, "odd")
    assert (judged.window_key, judged.row_count) == (f"{last:%Y-%m}", 1500)


def test_no_name_of_a_person_left_the_source(timeless: Clone) -> None:
    timeless.evergreen("model", "checkout", "v1")
    pages = [path for folder in ("reports", "bundle", "evaluation") for path in (timeless.folder / folder).rglob("*.*")]
    assert pages and not [path for path in pages if b"Person 1" in path.read_bytes()]


def test_rows_that_come_once_are_scored_and_judged_day_by_day(log: Clone) -> None:
    finished(begin(log, "backfill", start="2024-09-01", end="2024-10-31"))
    url = log.settings.evergreen_url
    judged = store.verdicts(url, "order-log")
    assert [one.window_key for one in judged] == ["2024-09", "2024-10"]
    assert {one.action for one in judged} <= {"none", "info"}
    assert [one.window_key for one in store.performances(url, "order-log")] == ["2024-09"]  # October's labels come in November
    with postgres.connect(url) as connection:
        found = connection.execute(
            "select count(*), count(distinct entity), min(as_of), max(as_of) from evergreen.predictions"
            " where model = 'order-log'"
        ).fetchone()
    assert found == (61 * 20, 61 * 20, dt.date(2024, 9, 1), dt.date(2024, 10, 31))


@pytest.mark.usefixtures("timeless")
def test_models_stand_beside_each_other(log: Clone) -> None:
    assert {"odd", "order-log"} <= {*ledger.models(log.settings.evergreen_url)}
    assert "where" in log.params.data.target and log.params.data.entity == "order"
