"""A ledger of an earlier version, with data in it, is carried into today's words."""

import json
from pathlib import Path

import pytest
from alembic import command

from monitoring import store
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry import ledger, schema, tenures

NEWEST = "0007"
BEFORE = Path(__file__).with_name("ledger_0006.sql")


@pytest.fixture
def earlier(ledger_url):
    """A store at revision 0006, filled by tests/pipelines/ledger_0006.sql."""
    with postgres.connect(ledger_url) as connection, schema._alchemy(connection) as alchemy:
        connection.execute("create schema evergreen")
        command.upgrade(schema._config(alchemy), "0006")
        connection.execute(BEFORE.read_text(encoding="utf-8"))
    return ledger_url


def test_decisions_keep_what_they_decided(earlier):
    assert schema.migrate(earlier) == [NEWEST]
    champion = ledger.champion(earlier, "churn")
    assert (champion.version, champion.revision) == (2, 2)
    decisions = [(row.revision, row.decision, row.to_version) for row in ledger.history(earlier, "churn")]
    assert decisions == [(2, "rejected", 3), (2, "promoted", 2), (1, "promoted", 1)]
    rejected = ledger.history(earlier, "churn")[0].verdict
    assert (rejected["outcome"], rejected["finding"], rejected["headline"]) == ("rejected", "ineligible", "The champion stays.")
    assert rejected["evidence"] == {"reuse": 2, "minimum_detectable_effect": 0.01, "significant_harm": 1, "rows": 900}
    assert [tenure.version for tenure in tenures.read(earlier, "churn")] == [1, 2]


def test_verdicts_keep_their_findings_and_figures(earlier):
    schema.migrate(earlier)
    with postgres.connect(earlier) as connection:
        rows = connection.execute(
            "select window_key, action, above_limit, suppressed, findings, figures from evergreen.current_verdicts "
            "order by window_key"
        ).fetchall()
        outcomes = connection.execute("select outcome from evergreen.retrainings").fetchall()
        erasures = connection.execute("select kind from evergreen.erasures order by kind").fetchall()
    assert [row[:4] for row in rows] == [
        ("2025-01", "none", False, None),
        ("2025-02", "quarantine", True, "A retraining is under way already."),
        ("2025-03", "info", True, None),
    ]
    assert [[(finding["kind"], finding["message"]) for finding in row[4]] for row in rows] == [
        [],
        [("data_incident", "usage is 1000 times what it was."), ("warning", "The data moved in usage.")],
        [("drift", "The data moved in usage.")],
    ]
    assert rows[0][5] == {"drift": {"score": 1.5, "above_limit": False}, "performance": None}
    assert outcomes == [("rejected",)] and erasures == [("entity",), ("garbage_collection",)]
    assert [one.window_key for one in store.pending(earlier, "churn")] == []  # its one alert was told before


def test_rows_are_still_append_only_and_of_the_new_values(earlier):
    schema.migrate(earlier)
    for statement, refusal in {
        "update evergreen.promotions set reason = ''": "append-only",
        "delete from evergreen.verdicts": "append-only",
        "insert into evergreen.promotions (model, revision, decision, from_version, to_version, actor, reason, verdict) "
        "values ('churn', 2, 'kept', 2, 3, 'a', 'b', '{}')": "promotions_decision",
    }.items():
        with pytest.raises(EvergreenError, match=refusal), postgres.connect(earlier) as connection:
            connection.execute(statement)
    with postgres.connect(earlier) as connection:
        flagged = connection.execute("select entity, score, flagged from evergreen.latest_scores").fetchall()
    assert flagged == [("7", 0.25, True)]


def test_a_store_of_today_has_nothing_to_do(earlier):
    schema.migrate(earlier)
    assert schema.migrate(earlier) == []
    assert json.dumps(schema.pending_migrations(earlier)) == "[]"
