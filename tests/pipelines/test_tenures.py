"""Who was champion when, and whom one goes back to."""

from __future__ import annotations

import datetime as dt

import pytest

from pipelines.registry import ledger, tenures
from pipelines.registry.tenures import ROLLED_BACK
from tests.support.ledgers import register

START = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)


def moves(*made: tuple[int, str]) -> list[tenures.Tenure]:
    """A reign an hour, of versions and findings."""
    times = [START + dt.timedelta(hours=hour) for hour in range(len(made))]
    ends = [*times[1:], None][: len(times)]
    return [
        tenures.Tenure(
            revision=revision, version=version, from_version=None, actor="tester", reason="because", finding=finding,
            since=since, until=until,
        )
        for revision, ((version, finding), since, until) in enumerate(zip(made, times, ends, strict=True), 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("made", "line"),
    [
        ([], []),
        ([(1, "better")], [1]),
        ([(1, "better"), (2, "better"), (3, "better")], [1, 2, 3]),
        ([(1, "better"), (2, "better"), (3, "better"), (2, ROLLED_BACK)], [1, 2]),
        ([(1, "better"), (2, "better"), (3, "better"), (2, ROLLED_BACK), (1, ROLLED_BACK)], [1]),
        ([(1, "better"), (2, "better"), (3, "better"), (1, ROLLED_BACK)], [1]),
        ([(1, "better"), (2, "better"), (1, "by hand")], [1, 2, 1]),  # a decision of its own: one can go back from it
        ([(1, "better"), (2, "better"), (1, ROLLED_BACK), (3, "better")], [1, 3]),
        ([(1, "better"), (4, ROLLED_BACK)], [1, 4]),  # to one that never reigned
    ],
)
def test_who_was_rolled_back_is_not_gone_back_to(made, line):
    assert tenures.line_of(moves(*made)) == line


def test_the_champion_of_a_moment(ledger_url):
    ledger.migrate(ledger_url)
    register(ledger_url, "a"), register(ledger_url, "b")
    decision = {"actor": "tester", "reason": "because", "verdict": {"finding": "better"}}
    first = ledger.promote(ledger_url, "churn", 1, expected_revision=0, **decision)
    ledger.record_rejection(ledger_url, "churn", 2, revision=1, **decision)
    second = ledger.promote(ledger_url, "churn", 2, expected_revision=1, **decision)
    known = tenures.read(ledger_url, "churn")
    assert [(one.version, one.since, one.until, one.finding) for one in known] == [
        (1, first.created_at, second.created_at, "better"),
        (2, second.created_at, None, "better"),
    ]
    tick = dt.timedelta(microseconds=1)
    asked = [first.created_at - tick, first.created_at, second.created_at - tick, second.created_at]
    assert [found and found.version for found in (tenures.at(known, moment) for moment in asked)] == [None, 1, 1, 2]


def test_a_clock_that_was_set_back_leaves_the_order_of_epochs():
    known = moves((1, "better"), (2, "better"))
    late = [known[0], tenures.Tenure(**{**vars(known[1]), "since": START - dt.timedelta(days=1)})]
    assert tenures.at(late, START + dt.timedelta(days=1)).version == 2
