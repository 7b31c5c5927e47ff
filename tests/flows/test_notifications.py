"""What people are sent, as the Prefect server renders it. That it arrives is seen in tests/e2e/test_notifications.py."""

from __future__ import annotations

from uuid import uuid4

import pytest
from prefect.events.schemas.automations import AutomationCore
from prefect.server.events.schemas.events import Event
from prefect.server.utilities.user_templates import render_user_template_sync

from flows import events, notifications
from pipelines.config.settings import Settings

DEPLOYMENT = str(uuid4())


@pytest.fixture
def automations(tmp_path) -> dict[str, AutomationCore]:
    """`decisions` and `failures` of the model churn for one block."""
    settings = Settings.load_from(tmp_path, {"EVERGREEN_SITE_URL": "http://site:8090"})
    found = notifications._automations(settings, "churn", "slack-webhook/team", uuid4(), [DEPLOYMENT])
    return {one.name.rpartition(" ")[2]: one for one in found}


def rendered(automation: AutomationCore, event: dict) -> tuple[str, str]:
    """Subject and body."""
    (action,) = automation.actions
    context = {"event": Event.model_validate(event)}
    return render_user_template_sync(action.subject, context), render_user_template_sync(action.body, context)


def failure(message: str, state: str = "Failed", flow: str = "retrain") -> dict:
    return {
        "occurred": "2026-11-25T00:00:00Z",
        "event": f"prefect.flow-run.{state}",
        "resource": {
            "prefect.resource.id": f"prefect.flow-run.{DEPLOYMENT}",
            "prefect.resource.name": "retrain-newest",
            "prefect.state-message": message,
            "prefect.state-name": state,
        },
        "related": [
            {"prefect.resource.id": "prefect.flow.1", "prefect.resource.role": "flow", "prefect.resource.name": flow},
            {"prefect.resource.id": f"prefect.deployment.{DEPLOYMENT}", "prefect.resource.role": "deployment"},
        ],
        "id": str(uuid4()),
    }


def test_a_decision_says_model_what_why_and_the_next_command(automations) -> None:
    event = events.describe("churn", "quarantine", {"cause": "2025-10", "why": "charges are in cents."})
    subject, body = rendered(automations["decisions"], event)
    assert subject == "Evergreen churn: a data incident"
    assert body.splitlines() == [
        "Window 2025-10. charges are in cents.",
        "Next: Fix the feed, then `prefect deployment run 'monitor/churn' -p window=2025-10 -p force=true --watch`.",
        "Reports: http://site:8090",
    ]


def test_a_decision_without_a_window_names_none(automations) -> None:
    event = events.describe("churn", "promoted", {"why": "v2 is champion after v1.", "cause": ""})
    assert rendered(automations["decisions"], event)[1].startswith("v2 is champion after v1.\nNext: ")


def test_a_failure_says_which_flow_why_and_the_next_command(automations) -> None:
    message = "Flow run encountered an exception: EvergreenError: The source is empty. Load it.\nmore"
    subject, body = rendered(automations["failures"], failure(message, flow="score"))
    assert subject == "Evergreen churn: score failed"
    assert "Run retrain-newest: Flow run encountered an exception: EvergreenError: The source is empty. Load it.\nNext" in body
    assert "`prefect deployment run 'score/churn' --watch`" in body
    assert body.endswith(f"Run: http://127.0.0.1:4200/runs/flow-run/{DEPLOYMENT}")


@pytest.mark.parametrize(
    ("message", "is_told"),
    [
        ("Flow run encountered an exception: StageError: Stage split failed. SECRET", True),
        ("Flow run encountered an exception: TransientError: SECRET", True),
        ("Flow run encountered an exception: StageError: Stage split failed. Traceback:\nValueError: SECRET", False),
        ("Flow run encountered an exception: ValueError: could not convert string to float: 'SECRET'", False),
        ("Execution was interrupted by an unexpected exception: ValueError: SECRET", False),
        ("Flow run infrastructure exited with status code -9. SECRET", True),
    ],
)
def test_only_texts_that_were_written_for_people_leave_the_house(automations, message: str, is_told: bool) -> None:
    _, body = rendered(automations["failures"], failure(message, "Crashed"))
    assert ("SECRET" in body) == is_told


def test_a_state_without_a_message_is_told_all_the_same(automations) -> None:
    assert rendered(automations["failures"], failure("", "TimedOut"))[0] == "Evergreen churn: retrain timedout"


def test_they_listen_for_one_model_only(automations) -> None:
    decisions, failures = automations["decisions"].trigger, automations["failures"].trigger
    assert decisions.match.root == {"prefect.resource.id": "evergreen.model.churn"}
    assert failures.match_related.root["prefect.resource.id"] == [f"prefect.deployment.{DEPLOYMENT}"]
    assert {f"evergreen.{kind}" for kind in events.SAYS} == decisions.expect
    assert [one.tags for one in automations.values()] == [["evergreen.model.churn"]] * 2
