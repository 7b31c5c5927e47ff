"""The APIs of a stack: one process a model, each at an address of its own, noted in `<home>/apis/MODEL.json`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings, api_notes, is_local


@dataclass(frozen=True)
class Api:
    """What one of them serves and where. clone: the folder whose `.env` says so, and whose model it follows."""

    model: str
    url: str
    fsync: bool
    clone: str

    @property
    def program(self) -> str:
        return f"api-{self.model}"


def noted(home: Path) -> list[Api]:
    """What the stack serves, by name of the model."""
    return [Api(**note) for note in api_notes(home).values()]


def served(settings: Settings) -> list[Api]:
    """The same with this clone's own, whether `evergreen up` has noted it or not."""
    others = [one for one in noted(settings.home) if one.model != settings.api_model]
    own = _of(settings)
    return [*others, own] if own else others


def claim(settings: Settings, say: Callable[[str], None]) -> None:
    """Note this clone's API, in place of what the clone had served before, and forget the APIs of clones that are gone.

    Raises:
        EvergreenError: its address is another model's, or the model is served by another clone at another address.
    """
    folder = settings.home / "apis"
    folder.mkdir(exist_ok=True)
    for one in noted(settings.home):
        moved = one.clone == str(settings.folder) and one.model != settings.api_model
        if moved or not Path(one.clone).is_dir():
            say(f"{one.model} is not served any more: {one.clone} {'serves another model' if moved else 'is gone'}")
            (folder / f"{one.model}.json").unlink()
    own = _of(settings)
    before = [one for one in noted(settings.home) if own and _is_in_the_way(own, one)]
    for one in before:
        say(f"{one.model} is served at {one.url} by {one.clone} already: that serves this clone as well")
    if own and not before:
        (folder / f"{own.model}.json").write_text(json.dumps(asdict(own), indent=1), encoding="utf-8")


def _is_in_the_way(own: Api, other: Api) -> bool:
    """Whether another clone serves the model already, at the same address."""
    if other.model == own.model:
        if other.clone != own.clone and other.url != own.url:
            raise EvergreenError(
                f"{own.model} is served at {other.url} by {other.clone}: put EVERGREEN_API_URL={other.url} into .env, or name "
                "another model by EVERGREEN_API_MODEL."
            )
        return other.clone != own.clone
    if other.url == own.url:
        raise EvergreenError(
            f"{own.url} is where {other.model} of {other.clone} is served: give EVERGREEN_API_URL in .env another port, or "
            "leave it out to have one found."
        )
    return False


def _of(settings: Settings) -> Api | None:
    """This clone's; None where it serves nothing, or another host does."""
    if not settings.api_model or not is_local(settings.api_url):
        return None
    return Api(settings.api_model, settings.api_url, settings.api_fsync, str(settings.folder))
