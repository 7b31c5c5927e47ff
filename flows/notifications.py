"""Who is told: Prefect automations that hand a model's events and failures to notification blocks.

The blocks are people's own, made once on the Prefect server, and hold the secrets; EVERGREEN_NOTIFY names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flows import events
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

if TYPE_CHECKING:
    from prefect.events.schemas.automations import AutomationCore, EventTrigger

DECISIONS = ["evergreen.retrain", "evergreen.quarantine", "evergreen.review", "evergreen.promoted"]
FAILURES = ["prefect.flow-run.Failed", "prefect.flow-run.Crashed", "prefect.flow-run.TimedOut"]

# Jinja, which the Prefect server renders. Every text that we raise on purpose holds no secret and no row of data; that of
# any other exception may, and stays in the house. Of ours the first line is enough.
DECISION_SUBJECT = "Evergreen {{ event.resource.name }}: {{ event.payload.message }}"
DECISION_BODY = """\
{% if event.payload.cause %}Window {{ event.payload.cause }}. {% endif %}{{ event.payload.why | truncate(1000) }}
Next: {{ event.payload.next }}
Reports: SITE"""
FLOW_AND_STATE = "{{ event.resource_in_role['flow'].name }} {{ event.resource['prefect.state-name'] | lower }}"
FAILURE_SUBJECT = f"Evergreen MODEL: {FLOW_AND_STATE}"
FAILURE_BODY = """\
{% set said = event.resource['prefect.state-message'] or '' %}\
{% set ours = 'EvergreenError: ' in said or 'TransientError: ' in said or 'StageError: ' in said %}\
{% set foreign = 'encountered an exception' in said or 'unexpected exception' in said %}\
Run {{ event.resource.name }}: {% if ours or not foreign %}{{ said.split('\\n')[0] | truncate(500) }}\
{% else %}an error that nobody foresaw; its text is on the run's page.{% endif %}
Next: read it, then `prefect deployment run '{{ event.resource_in_role['flow'].name }}/MODEL' --watch`; \
`evergreen doctor` looks for the usual causes.
Run: PREFECT/runs/flow-run/{{ event.resource.id.split('.')[-1] }}"""


def how_to_make(block: str) -> str:
    """What to do about a block that is not there."""
    slug, _, name = block.partition("/")
    return (
        f"`prefect block create {slug}` says where to make it, with {name} as its name; docs/how-to/notify-people.md does it "
        "by command. Or take it out of EVERGREEN_NOTIFY in .env, and run `evergreen deploy`."
    )


def find_blocks(settings: Settings) -> dict[str, UUID]:
    """EVERGREEN_NOTIFY's blocks, with their ids.

    Raises:
        EvergreenError: one is not there, or cannot notify.
    """
    if not settings.notify:
        return {}
    with events.client("look for the notification blocks", settings.prefect_api_url) as prefect:
        return {block: _find(prefect, block) for block in settings.notify}


def _find(prefect: Any, block: str) -> UUID:
    from prefect.exceptions import ObjectNotFound

    slug, _, name = block.partition("/")
    try:
        document = prefect.read_block_document_by_name(name, slug, include_secrets=False)
    except ObjectNotFound:
        raise EvergreenError(f"EVERGREEN_NOTIFY names {block}, and Prefect has no such block. {how_to_make(block)}") from None
    if "notify" not in document.block_schema.capabilities:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY names {block}, which cannot notify. Take one of another type, such as custom-webhook, "
            "slack-webhook, ms-teams-webhook or sendgrid-email."
        )
    return document.id


def put_up(settings: Settings, model: str, blocks: dict[str, UUID], deployments: Sequence[str]) -> list[str]:
    """Make the model's automations those of these blocks, and take away others that an earlier call made.

    Args:
        blocks: as `find_blocks` gives them.
        deployments: of the model, as in `retrain/churn`; people are told when a run of theirs fails.

    Returns:
        The names of the automations.
    """
    with events.client(f"take the automations of {model!r}", settings.prefect_api_url) as prefect:
        ids = [str(prefect.read_deployment_by_name(name).id) for name in deployments]
        automations = {
            automation.name: automation
            for block, id_ in blocks.items()
            for automation in _automations(settings, model, block, id_, ids)
        }
        before = {automation.name: automation for automation in _existing(prefect, model)}
        for name, automation in automations.items():
            if name in before:
                paused = automation.model_copy(
                    update={"enabled": before[name].enabled}
                )  # whoever paused it may have had a reason
                prefect.update_automation(before[name].id, paused)
            else:
                prefect.create_automation(automation)
        for name in before.keys() - automations.keys():
            prefect.delete_automation(before[name].id)
    return list(automations)


def _existing(prefect: Any, model: str) -> list[Any]:
    """By the tag, so that no other model's and nobody's own are among them."""
    from prefect.events.filters import AutomationFilter, AutomationFilterTags

    tagged = AutomationFilter(tags=AutomationFilterTags(all_=[events.resource_id(model)]))
    return prefect.read_automations(automations=tagged)


def _automations(settings: Settings, model: str, block: str, id_: UUID, deployments: list[str]) -> Iterator[AutomationCore]:
    """Two for a block: the model's decisions, and failed runs of its deployments."""
    from prefect.events.actions import SendNotification
    from prefect.events.schemas.automations import AutomationCore

    words = {"MODEL": model, "SITE": settings.site_url, "PREFECT": settings.prefect_api_url.removesuffix("/api")}
    texts = {
        "decisions": (_decisions(model), DECISION_SUBJECT, DECISION_BODY),
        "failures": (_failures(deployments), FAILURE_SUBJECT, FAILURE_BODY),
    }
    for what, (trigger, subject, body) in texts.items():
        action = SendNotification(block_document_id=id_, subject=_fill(subject, words), body=_fill(body, words))
        yield AutomationCore(
            name=f"{model}: notify {block} of {what}",
            description="Made by `evergreen deploy` for EVERGREEN_NOTIFY.",
            tags=[events.resource_id(model)],
            trigger=trigger,
            actions=[action],
        )


def _decisions(model: str) -> EventTrigger:
    from prefect.events.schemas.automations import EventTrigger, Posture

    match = {"prefect.resource.id": events.resource_id(model)}
    return EventTrigger(posture=Posture.Reactive, expect=set(DECISIONS), match=match)


def _failures(deployments: list[str]) -> EventTrigger:
    from prefect.events.schemas.automations import EventTrigger, Posture

    of_deployments = {
        "prefect.resource.role": "deployment",
        "prefect.resource.id": [f"prefect.deployment.{id_}" for id_ in deployments],
    }
    match = {"prefect.resource.id": "prefect.flow-run.*"}
    return EventTrigger(posture=Posture.Reactive, expect=set(FAILURES), match=match, match_related=of_deployments)


def _fill(template: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        template = template.replace(word, value)
    return template
