"""What the pages take from the ledger: a window's own figures, the decision's own name, and no figure that cannot be."""

from dataclasses import replace
from datetime import UTC, date, datetime

from flows import first_page
from monitoring.findings import Finding
from monitoring.store import Verdict
from pipelines.registry import ledger

NOW = datetime(2025, 7, 1, tzinfo=UTC)
OWN = Finding("drift", "plan", "The data moved in plan.", 100, window="2025-06")
OTHER = Finding("loss", "roc_auc", "roc_auc is 0.74 on mature labels.", 100, window="2025-03")


def verdict(*findings, why=""):
    return Verdict(
        sequence=1, model="churn", window_key="2025-06", first_day=date(2025, 6, 1), last_day=date(2025, 6, 30), version=1,
        judged_on=date(2025, 6, 30), row_count=100, above_limit=False, alarmed=False, action="retrain", why=why,
        suppressed=None, matured="2025-03", findings=list(findings), figures={}, recorded_at=NOW,
    )  # fmt: skip


def test_a_windows_verdict_quotes_its_own_figures_and_names_the_window_of_any_other():
    told = verdict(OWN, OTHER, why="2025-03: roc_auc is 0.74 on mature labels. 2025-06: The data moved in plan.")
    assert first_page._why(told) == ("The data moved in plan.", [("2025-03", "roc_auc is 0.74 on mature labels.")])
    assert first_page._why(verdict(OTHER))[0] == "Nothing was found in this window itself."
    assert first_page._why(verdict(OWN, why="2025-06: The data moved in plan.")) == ("The data moved in plan.", [])


def test_a_rollback_is_called_one():
    row = ledger.Promotion(
        sequence=1, model="churn", revision=2, decision="promoted", from_version=2, to_version=1, actor="ada", reason="",
        verdict={"finding": "rolled back"}, created_at=NOW,
    )  # fmt: skip
    assert first_page._decided(row) == "rolled back"
    assert first_page._decided(replace(row, verdict={"finding": "better"})) == "promoted"


def test_an_interval_stays_within_what_its_metric_can_be():
    wide = {"point": 0.54, "low": -0.03, "high": 1.11}
    assert first_page.interval(wide, "roc_auc").to_dict() == {"point": 0.54, "low": 0.0, "high": 1.0}
    assert first_page.interval(wide, "log_loss").to_dict() == {"point": 0.54, "low": 0.0, "high": 1.11}
    assert first_page.interval(wide, "cost").to_dict() == wide
