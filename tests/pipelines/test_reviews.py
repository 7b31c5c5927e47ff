"""Reviews in the ledger: when a person is asked, when not again, and what each answer leaves there."""

import pytest

from pipelines.promotion.verdict import Comparison, Verdict
from pipelines.registry import ledger, publish, reviews
from tests.support.ledgers import DECISION, register

GATE = Verdict("better", "The challenger becomes champion: gain +1.", comparisons=[Comparison("cost", "", 1.0, 0.5, 1.5, 0.0)])


@pytest.fixture
def url(ledger_url):
    """v1 is champion; v2 and v3 are published."""
    ledger.migrate(ledger_url)
    for digit in "123":
        register(ledger_url, digit)
    ledger.promote(ledger_url, "churn", 1, expected_revision=0, **DECISION)
    return ledger_url


def version(url, number=2):
    return ledger.version(url, "churn", number)


def ask(url, number=2, revision=1, hours=72.0) -> Verdict:
    """As the gate does when it would promote."""
    verdict = reviews.awaiting(url, version(url, number), GATE, revision=revision, hours=hours)
    publish.record_decision(url, version(url, number), verdict, revision=revision, actor="gate")
    return verdict


def record(url, verdict, revision=1, number=2):
    publish.record_decision(url, version(url, number), verdict, revision=revision, actor="Ada")


def test_what_waits_keeps_the_champion_and_holds_what_the_gate_saw(url):
    asked = ask(url)
    assert (asked.outcome, asked.headline) == ("rejected", "A person has the last word; the gate would promote it: gain +1.")
    (review,) = reviews.open_reviews(url, "churn")
    assert (review.version, review.revision, review.verdict.comparisons) == (2, 1, GATE.comparisons)
    assert ledger.champion(url, "churn").version == 1


def test_asking_twice_is_asking_once(url):
    assert ask(url).to_dict() == ask(url).to_dict()
    assert len(ledger.history(url, "churn")) == 2
    assert len(reviews.open_reviews(url, "churn")) == 1


def test_an_approval_moves_the_champion_and_keeps_the_gates_evidence(url):
    ask(url)
    (review,) = reviews.open_reviews(url, "churn")
    record(url, reviews.answered(review, "approve", by="Ada", comment="good"))
    row = ledger.history(url, "churn", 1)[0]
    assert (row.decision, row.actor, row.reason) == ("promoted", "Ada", "Approved by Ada: good")
    assert row.verdict["review"] == {
        "gate": "better", "hours": 72.0, "asked": review.sequence, "answer": "approve", "by": "Ada", "comment": "good",
    }  # fmt: skip
    assert row.verdict["comparisons"] and reviews.open_reviews(url, "churn") == []


def test_who_rejects_is_not_asked_again_against_the_same_champion(url):
    ask(url)
    (review,) = reviews.open_reviews(url, "churn")
    record(url, reviews.answered(review, "reject", by="Ada", comment="bad"))
    assert ask(url).finding == "rejected"
    assert reviews.open_reviews(url, "churn") == []
    assert len(ledger.history(url, "churn")) == 3
    ledger.promote(url, "churn", 3, expected_revision=1, **DECISION)
    assert ask(url, revision=2).finding == "awaits review"


def test_an_approval_against_a_champion_of_before_changes_nothing(url):
    ask(url)
    (review,) = reviews.open_reviews(url, "churn")
    ledger.promote(url, "churn", 3, expected_revision=1, **DECISION)
    approved = reviews.answered(review, "approve", by="Ada", comment="good")
    with pytest.raises(ledger.ChampionMovedError):
        record(url, approved)
    late = reviews.moved(approved, ledger.champion(url, "churn"))
    record(url, late, revision=2)
    assert "it is now v3 of revision 2" in late.headline
    assert ledger.champion(url, "churn").version == 3
    assert reviews.open_reviews(url, "churn") == []


def test_a_review_that_nobody_answered_is_over_and_may_be_asked_anew(url):
    ask(url, hours=1e-9)
    (review,) = reviews.open_reviews(url, "churn")
    assert review.seconds_left(review.asked_at) < 1e-3
    record(url, reviews.expired(review))
    assert reviews.open_reviews(url, "churn") == []
    assert ask(url).finding == "awaits review"


def test_a_promotion_by_hand_closes_the_question(url):
    ask(url)
    ledger.promote(url, "churn", 2, expected_revision=1, **DECISION | {"verdict": {"finding": "by hand"}})
    assert reviews.open_reviews(url, "churn") == []
