"""Where a person has the last word (promotion.mode: review): what the gate would promote waits for an answer.

A review is a decision like any other, which keeps the champion for now. It is open as long as no later one is about its
version; the answer is the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pipelines.promotion.verdict import Finding, Verdict
from pipelines.registry import ledger

Answer = Literal["approve", "reject"]


@dataclass(frozen=True)
class Review:
    """An open question: is `version` to follow the champion of `revision` (0: none)?"""

    sequence: int
    version: int
    revision: int
    verdict: Verdict
    asked_at: datetime

    def seconds_left(self, now: datetime) -> float:
        """Until it is too late to answer."""
        return self.verdict.review["hours"] * 3600 - (now - self.asked_at).total_seconds()


def awaiting(url: str, version: ledger.Version, verdict: Verdict, *, revision: int, hours: float) -> Verdict:
    """What is to be recorded where the gate would promote: that a person is asked; or what was recorded of it before, where it
    waits already, or was rejected against the very same champion.

    Args:
        hours: after which it is too late to answer.
    """
    latest = _latest(url, version.model).get(version.version)
    if latest and latest.decision == "rejected" and latest.revision == revision:
        earlier = Verdict.from_dict(latest.verdict)
        if earlier.finding in ("awaits review", "rejected"):
            return earlier
    figures = verdict.headline.partition(": ")[2]
    headline = f"A person has the last word; the gate would promote it: {figures}"
    return replace(verdict, finding="awaits review", headline=headline, review={"gate": verdict.finding, "hours": hours})


def open_reviews(url: str, model: str) -> list[Review]:
    """Those that nobody has answered, newest first."""
    return [
        Review(row.sequence, row.to_version, row.revision, Verdict.from_dict(row.verdict), row.created_at)
        for row in _latest(url, model).values()
        if row.verdict.get("finding") == "awaits review"
    ]


def answered(review: Review, answer: Answer, *, by: str, comment: str) -> Verdict:
    """The verdict once a person has spoken; approved is yet to be recorded against the champion that it was judged by."""
    answer_record = {**review.verdict.review, "asked": review.sequence, "answer": answer, "by": by, "comment": comment}
    finding: Finding = "approved" if answer == "approve" else "rejected"
    word = "Approved" if answer == "approve" else "The champion stays: rejected"
    return replace(review.verdict, finding=finding, headline=f"{word} by {by}: {comment}", review=answer_record)


def moved(approved: Verdict, champion: ledger.Champion | None) -> Verdict:
    """The verdict where what was approved had been judged against a champion that no longer reigns."""
    now = f"{champion} of revision {champion.revision}" if champion else "none"
    headline = (
        f"The champion stays: {approved.review['by']} approved what was judged against an earlier champion; it is now {now}. "
        "Retrain by the same date, and it is judged against that."
    )
    return replace(approved, finding="champion moved", headline=headline)


def expired(review: Review) -> Verdict:
    """The verdict where nobody has answered in time."""
    hours = review.verdict.review["hours"]
    headline = f"The champion stays: nobody answered the review of v{review.version} within {hours:g} hours."
    answer_record = {**review.verdict.review, "asked": review.sequence}
    return replace(review.verdict, finding="review expired", headline=headline, review=answer_record)


def _latest(url: str, model: str) -> dict[int, ledger.Promotion]:
    """Version -> the newest decision about it, newest first."""
    latest: dict[int, ledger.Promotion] = {}
    for row in ledger.history(url, model):
        latest.setdefault(row.to_version, row)
    return latest
