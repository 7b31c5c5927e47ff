"""The watching loop through Prefect: a stretch of months, scored and judged one after the other, killed and taken up again."""

from __future__ import annotations

import random
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from monitoring import store
from pipelines.data import postgres
from tests.conftest import Project
from tests.support.clones import FlowRun, kill_all, wait_for
from tests.support.runs import begin, finished, flow_of

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("watched")]
START, END = "2025-01-01", "2025-06-30"  # the feed breaks in February
MONTHS = [f"2025-0{month}" for month in range(1, 7)]
SEED = 20251125


@pytest.fixture(scope="module")
def watched(project: Project) -> FlowRun:
    """The first half of 2025, with nothing left of what other tests had scored and judged."""
    forget_windows(project.settings.evergreen_url)
    return finished(begin(project.clone, "backfill", start=START, end=END))


def site(project: Project) -> Path:
    return project.settings.home / "site"


def parses(page: Path) -> bool:
    parser = HTMLParser()
    parser.feed(page.read_text(encoding="utf-8"))
    return page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def what_is_there(project: Project) -> dict[str, list]:
    """Everything that must be there once: verdicts, what labels said, scores by run of the months (others score other days)."""
    with postgres.connect(project.settings.evergreen_url) as ours:
        month = f"as_of <= '{END}' and as_of = (date_trunc('month', as_of) + interval '1 month - 1 day')::date"
        scores = f"""select run_key, count(*), count(distinct entity), sum(score)
                       from evergreen.predictions where {month} group by 1 order by 1"""
        verdicts = "select window_key, version, action, why, findings::text from evergreen.verdicts order by sequence"
        known = "select window_key, labelled, positives, metrics::text from evergreen.performances order by sequence"
        profiles = "select run_key, part, row_count, histograms::text from evergreen.profiles order by 1, 2"
        found = {"scores": scores, "verdicts": verdicts, "performances": known, "profiles": profiles}
        return {name: ours.execute(statement).fetchall() for name, statement in found.items()}


def test_every_window_has_one_verdict_and_the_broken_feed_is_blocked(project: Project) -> None:
    judged = store.verdicts(project.settings.evergreen_url, "churn")
    assert [one.window_key for one in judged] == MONTHS
    actions = {one.window_key: one.action for one in judged}
    broken = {"2025-02", "2025-03"}  # a sum over three months has the fault as long as nobody has declared it
    assert {actions[key] for key in broken} == {"quarantine"}
    assert {actions[key] for key in MONTHS if key not in broken} <= {"none", "info"}
    assert any("usage_gb_3m" in finding.about for finding in judged[1].findings)
    assert store.retrainings(project.settings.evergreen_url, "churn")[0].cause is None  # the first one, by hand


def test_mature_labels_are_measured_as_they_come(project: Project) -> None:
    known = store.performances(project.settings.evergreen_url, "churn")
    assert {one.window_key for one in known} == set(MONTHS[:4])
    assert all(0.6 < one.metrics["roc_auc"]["point"] < 1 for one in known if one.metrics)


def test_the_pages_are_there_whole_and_small(project: Project) -> None:
    pages = [*site(project).glob("churn/windows/*/*.html"), site(project) / "index.html"]
    assert {page.parent.name for page in pages} >= set(MONTHS)
    assert (site(project) / "churn/windows/2025-02/drift.html").exists()
    for page in pages:
        assert page.stat().st_size < 6_000_000 and parses(page), page
    first, broken = ((site(project) / page).read_text() for page in ("index.html", "churn/windows/2025-02/index.html"))
    assert "nothing needs attention since window 2025-04" in first  # the fault was declared, and is over
    assert "✕ quarantine" in first and "✕ quarantine" in broken and "Owner: the churn team." in broken


def test_the_same_again_changes_nothing(project: Project) -> None:
    before = what_is_there(project)
    finished(begin(project.clone, "backfill", start=START, end=END))
    assert what_is_there(project) == before


def test_any_window_is_rendered_on_demand(project: Project) -> None:
    said = project.clone.evergreen("monitor", "report", "2025-01")
    assert said.strip().endswith("/churn/windows/2025-01/index.html")
    folder = site(project) / "churn" / "windows" / "2025-01"
    assert {page.name for page in folder.iterdir()} >= {"index.html", "drift.html", "bias.html"}
    assert "was not judged. Judged: 2025-01" in project.clone.evergreen("monitor", "report", "2031-01", check=False)


def test_monitor_judges_one_window_and_keeps_its_verdict(project: Project) -> None:
    before = what_is_there(project)["verdicts"]
    finished(begin(project.clone, "monitor", window="2025-06"))
    assert what_is_there(project)["verdicts"] == before


def test_killed_at_random_moments_it_converges_to_what_an_undisturbed_run_gives(project: Project) -> None:
    """Five kills of score and judgement; what is left over then is completed, and is what was there without any kill."""
    url, undisturbed = project.settings.evergreen_url, what_is_there(project)
    forget_windows(url)
    random.seed(SEED)
    for _ in range(5):
        run = begin(project.clone, "backfill", start=START, end=END)
        wait_for(lambda run=run: run.state["type"] == "RUNNING", 120, "the flow running")
        time.sleep(random.uniform(1, 15))
        kill_all(flow_of(project.settings, run))
        run.wait(120)
        assert all(parses(page) for page in site(project).glob("churn/windows/*/*.html"))
        with postgres.connect(url) as ours:
            twice = "select count(*) from evergreen.predictions group by model, run_key, entity having count(*) > 1"
            assert ours.execute(twice).fetchall() == []
    finished(begin(project.clone, "backfill", start=START, end=END))
    now = what_is_there(project)
    for name in ("scores", "verdicts", "performances"):
        assert now[name] == undisturbed[name], name
    assert not list(site(project).rglob(".*.partial"))


def test_a_late_source_is_judged_up_to_its_newest_window_and_said_to_be_late(project: Project) -> None:
    finished(begin(project.clone, "score", as_of="2025-12-31"))
    state = begin(project.clone, "monitor").wait(300)
    assert state["type"] == "COMPLETED"
    assert "2025-12: " in state["message"] and "a feed is late" in state["message"]
    assert store.verdicts(project.settings.evergreen_url, "churn")[-1].window_key == "2025-12"


def forget_windows(url: str) -> None:
    """As if nothing had been scored or judged: the ledger itself refuses this, so its triggers are put aside."""
    tables = ("predictions", "scoring_runs", "outcomes", "profiles", "notifications", "performances", "verdicts")
    with postgres.connect(url) as ours:
        for table in tables:
            ours.execute(f"alter table evergreen.{table} disable trigger user")
            ours.execute(f"delete from evergreen.{table}")
            ours.execute(f"alter table evergreen.{table} enable trigger user")
