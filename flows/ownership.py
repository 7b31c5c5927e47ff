"""Whose a deployment is: the clone that its runs work in, and that clone's home. It stands on the deployment as tags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows import events
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings, is_local

CLONE, HOME = "clone:", "home:"
SHARED = "stage/"  # how the names of deployments begin that work for every model


@dataclass(frozen=True)
class Owner:
    """A clone and its home; both empty for a deployment that `evergreen deploy` did not make."""

    clone: str
    home: str

    def __str__(self) -> str:
        return f"{self.clone} (home {self.home})" if self.clone else "somebody who did not use `evergreen deploy`"


def of(settings: Settings) -> Owner:
    return Owner(str(settings.folder), str(settings.home))


def tags(model: str, owner: Owner) -> list[str]:
    """What a deployment is tagged with, and so each of its runs."""
    return ["evergreen", f"model:{model}", f"{CLONE}{owner.clone}", f"{HOME}{owner.home}"]


def read(tags: Iterable[str]) -> Owner:
    """The owner that a deployment's tags name."""
    owner_tags = {kind: tag.removeprefix(kind) for tag in tags for kind in (CLONE, HOME) if tag.startswith(kind)}
    return Owner(owner_tags.get(CLONE, ""), owner_tags.get(HOME, ""))


def others(settings: Settings, names: Sequence[str]) -> dict[str, Owner]:
    """Which of these deployments are there and another's. On a Prefect of this machine a clone that is gone owns nothing."""
    this_clone = of(settings)
    owners = {name: read(deployment.tags) for name, deployment in _existing(settings, names).items()}
    return {name: owner for name, owner in owners.items() if owner != this_clone and not _is_gone(settings, owner)}


def left_to_others(names: Sequence[str], others: Mapping[str, Owner]) -> list[str]:
    """Deployments that a deploy without leave does not touch: those that work for every model, where another has them.

    Raises:
        EvergreenError: the model's own are another's, or all that there would be to deploy is.
    """
    if [name for name in others if not name.startswith(SHARED)] or len(others) == len(names):
        by_owner = {owner: [name for name, holder in others.items() if holder == owner] for owner in others.values()}
        listed = "; ".join(f"{', '.join(belonging)} of {owner}" for owner, belonging in by_owner.items())
        raise EvergreenError(
            f"Nothing was deployed: this would take over {listed}. Deploy there; or give this clone another model "
            "(model in params.yaml) or a stack of its own (EVERGREEN_HOME and other ports in .env); or pass --take-over, and "
            "their runs work in this clone from then on."
        )
    return list(others)


def _existing(settings: Settings, names: Sequence[str]) -> dict[str, Any]:
    from prefect.exceptions import ObjectNotFound

    deployments = {}
    with events.client("look for the deployments", settings.prefect_api_url) as prefect:
        for name in names:
            try:
                deployments[name] = prefect.read_deployment_by_name(name)
            except ObjectNotFound:
                continue
    return deployments


def _is_gone(settings: Settings, owner: Owner) -> bool:
    return bool(owner.clone) and is_local(settings.prefect_api_url) and not Path(owner.clone).is_dir()
