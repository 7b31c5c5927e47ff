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
    others = [api for api in noted(settings.home) if api.model != settings.api_model]
    own_api = _of(settings)
    return [*others, own_api] if own_api else others


def claim(settings: Settings, say: Callable[[str], None]) -> None:
    """Note this clone's API, in place of what the clone had served before, and forget the APIs of clones that are gone.

    Raises:
        EvergreenError: its address is another model's, or the model is served by another clone at another address.
    """
    folder = settings.home / "apis"
    folder.mkdir(exist_ok=True)
    for api in noted(settings.home):
        moved = api.clone == str(settings.folder) and api.model != settings.api_model
        if moved or not Path(api.clone).is_dir():
            say(f"{api.model} is not served any more: {api.clone} {'serves another model' if moved else 'is gone'}")
            (folder / f"{api.model}.json").unlink()
    own_api = _of(settings)
    before = [api for api in noted(settings.home) if own_api and _is_in_the_way(own_api, api)]
    for api in before:
        say(f"{api.model} is served at {api.url} by {api.clone} already: that serves this clone as well")
    if own_api and not before:
        (folder / f"{own_api.model}.json").write_text(json.dumps(asdict(own_api), indent=1), encoding="utf-8")


def _is_in_the_way(api: Api, other: Api) -> bool:
    """Whether another clone serves the model already, at the same address."""
    if other.model == api.model:
        if other.clone != api.clone and other.url != api.url:
            raise EvergreenError(
                f"{api.model} is served at {other.url} by {other.clone}: put EVERGREEN_API_URL={other.url} into .env, or name "
                "another model by EVERGREEN_API_MODEL."
            )
        return other.clone != api.clone
    if other.url == api.url:
        raise EvergreenError(
            f"{api.url} is where {other.model} of {other.clone} is served: give EVERGREEN_API_URL in .env another port, or "
            "leave it out to have one found."
        )
    return False


def _of(settings: Settings) -> Api | None:
    """This clone's; None where it serves nothing, or another host does."""
    if not settings.api_model or not is_local(settings.api_url):
        return None
    return Api(settings.api_model, settings.api_url, settings.api_fsync, str(settings.folder))
