"""A person's answer by the API that Prefect's UI uses: approve and reject, and a champion that moved meanwhile."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from flows import promote
from monitoring.reports import site
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, publish
from tests.conftest import AS_OF, Project, Settings
from tests.support import bundles
from tests.support.clones import Clone, FlowRun, ask, wait_for

MODEL = "reviewed"
WEIGHTS = [
    {"strong": 1.0},
    {"strong": 1.5},
    {"strong": 1.5, "weak": 0.5},
    {"strong": 1.5, "weak": 1.0},
    {"strong": 2.0, "weak": 1.0},
]


@pytest.fixture(scope="module")
def clone(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Deployed, and its params say that a person has the last word."""
    folder = tmp_path_factory.mktemp("reviewed") / "clone"
    made = Clone.make(folder, (stack.folder / ".env").read_text(), {"model": MODEL, "promotion.mode": "review"})
    made.deploy()
    return made


@dataclass(frozen=True)
class Asked:
    """A version that the gate would promote, and the flow run that waits for an answer about it."""

    version: ledger.Version
    run: FlowRun
    settings: Settings

    def answer(self, answer: str, comment: str = "seen") -> Any:
        """What the server says to the form that the UI sends."""
        wait_for(lambda: self.run.state["type"] == "PAUSED", 120, "the run suspended")
        body = {"run_input": {"answer": answer, "name": "Ada", "comment": comment}}
        return ask("post", f"{self.run.api}/flow_runs/{self.run.id}/resume", body)

    def newest(self) -> ledger.Promotion:
        return ledger.history(self.settings.evergreen_url, MODEL, 1)[0]


@pytest.fixture
def asked(clone: Clone, tmp_path) -> Asked:
    """The next better version, published and judged by the gate."""
    settings = clone.settings
    count = len(ledger.versions(settings.evergreen_url, MODEL))
    release = bundles.write_release(tmp_path / "release", MODEL, WEIGHTS[count])
    version = publish.publish_version(settings.evergreen_url, settings.mlflow_tracking_uri, release)
    params = bundles.params(promotion=bundles.PROMOTION.model_copy(update={"mode": "review", "min_effect": 0.0}))
    decide = {"cache": tmp_path / "cache", "actor": "tester"}
    rows = bundles.held_out_rows()
    verdict = publish.decide(settings.evergreen_url, settings.mlflow_tracking_uri, version, rows, params, **decide)
    assert (verdict.outcome, verdict.finding) == ("rejected", "awaits review")
    pages = {site.SUMMARY: "It awaits an answer."}
    site.write_version(settings.home / "site", MODEL, version.version, verdict=pages, card="", reports={}, links={})
    address = promote.begin(settings, version)
    assert promote.begin(settings, version) == address  # asking again, after a kill, is asking once
    run = FlowRun(settings.prefect_api_url, re.search(r"[0-9a-f-]{36}$", address)[0])
    return Asked(version, run, settings)


def test_rejected_stays_out_says_who_and_why_and_is_kept_on_the_page(asked: Asked) -> None:
    before = ledger.champion(asked.settings.evergreen_url, MODEL)
    refused = asked.answer("reject", comment="")
    assert refused["status"] == "REJECT" and "comment" in str(refused["details"])  # nobody answers without a reason
    assert asked.answer("reject", "Its recall among the young.")["status"] == "ACCEPT"
    assert asked.run.wait(120)["type"] == "COMPLETED"
    row = asked.newest()
    assert (row.decision, row.actor, row.to_version) == ("rejected", "Ada", asked.version.version)
    verdict = Verdict.from_dict(row.verdict)
    assert (verdict.finding, verdict.review["comment"]) == ("rejected", "Its recall among the young.")
    assert verdict.comparisons or verdict.evidence  # what the gate saw is kept with the answer
    assert ledger.champion(asked.settings.evergreen_url, MODEL) == before
    page = (asked.settings.home / "site" / MODEL / f"v{asked.version.version}" / "index.html").read_text()
    assert "It awaits an answer." not in page and "Its recall among the young." in page


def test_approved_becomes_champion_with_its_alias(asked: Asked) -> None:
    assert asked.answer("approve", "Looks right.")["status"] == "ACCEPT"
    assert asked.run.wait(120)["type"] == "COMPLETED", asked.run.state
    row = asked.newest()
    assert (row.decision, row.actor, row.reason) == ("promoted", "Ada", "Approved by Ada: Looks right.")
    champion = ledger.champion(asked.settings.evergreen_url, MODEL)
    assert champion is not None and champion.version == asked.version.version
    assert publish.reconcile(asked.settings.evergreen_url, asked.settings.mlflow_tracking_uri, MODEL) == []
    wait_for(lambda: {"evergreen.review", "evergreen.promoted"} <= told(asked), 30, "both events")  # stored a moment later


def told(asked: Asked) -> set[str]:
    """Names of the events of this model that Prefect has."""
    found = ask("post", f"{asked.run.api}/events/filter", {"filter": {"event": {"prefix": ["evergreen."]}}})
    return {one["event"] for one in found["events"] if one["resource"]["prefect.resource.name"] == MODEL}


@pytest.mark.long
def test_approved_after_the_champion_moved_is_refused_and_says_what_to_do(asked: Asked, tmp_path: Path) -> None:
    url = asked.settings.evergreen_url
    champion = ledger.champion(url, MODEL)
    release = bundles.write_release(tmp_path / "other", MODEL, {"strong": 0.5})
    other = publish.publish_version(url, asked.settings.mlflow_tracking_uri, release)
    revision = champion.revision if champion else 0
    publish.record_decision(url, other, Verdict("by hand", "Bob: back"), revision=revision, actor="Bob")
    asked.answer("approve")
    state = asked.run.wait(120)
    assert state["type"] == "FAILED" and "Retrain by the same date" in state["message"]
    assert (asked.newest().decision, asked.newest().verdict["finding"]) == ("rejected", "champion moved")
    assert ledger.champion(url, MODEL).version == other.version


@pytest.mark.long
def test_an_answer_that_never_came_is_entered_by_whoever_looks_next(asked: Asked) -> None:
    url = asked.settings.evergreen_url
    wait_for(lambda: asked.run.state["type"] == "PAUSED", 120, "the run suspended")
    (review,) = promote.reviews.open_reviews(url, MODEL)
    late = replace(review, verdict=replace(review.verdict, review={**review.verdict.review, "hours": 1e-6}))
    verdict = promote.reviews.expired(late)
    assert late.seconds_left(review.asked_at) < 1
    publish.record_decision(url, asked.version, verdict, revision=review.revision, actor="evergreen")
    assert promote.reviews.open_reviews(url, MODEL) == []
    asked.answer("approve")
    state = asked.run.wait(120)
    assert state["type"] == "COMPLETED" and "came too late" in state["message"]
    assert asked.newest().verdict["finding"] == "review expired"


@pytest.mark.long
def test_a_retraining_ends_with_the_question_and_the_answer_needs_no_stage_again(project: Project, tmp_path: Path) -> None:
    env_file = (project.settings.folder / ".env").read_text()
    quick = {"evaluate.bootstrap": 200, "tune.trials": 2, "candidates.enabled": {"linear": "cpu", "lightgbm": "cpu"}}
    clone = Clone.make(tmp_path / "asking", env_file, quick | {"model": "asking", "promotion.mode": "review"})
    clone.deploy()
    retraining = clone.retrain(as_of=AS_OF)
    assert "ask" in retraining.tasks() and "awaits a person's answer" in retraining.log("ask")
    assert ledger.champion(clone.settings.evergreen_url, "asking") is None
    address = re.search(r"http\S+flow-run/([0-9a-f-]{36})", retraining.log("ask"))
    run = FlowRun(clone.settings.prefect_api_url, address[1])
    version = ledger.version(clone.settings.evergreen_url, "asking", 1)
    page = clone.settings.home / "site" / "asking" / "v1"
    assert "awaits review" in (page / "verdict.html").read_text()
    Asked(version, run, clone.settings).answer("approve", "The first one.")
    assert run.wait(120)["type"] == "COMPLETED", run.state
    assert set(run.tasks()) == {"settle", "pages", "announce"}
    champion = ledger.champion(clone.settings.evergreen_url, "asking")
    assert (champion.version, champion.revision) == (1, 1)
    assert "Approved by Ada: The first one." in (page / "index.html").read_text()
