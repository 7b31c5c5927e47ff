"""The local stack's own API key: made by `evergreen up`, kept beside the passwords."""

from __future__ import annotations

from infra.stack import store
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from serving import keys

NAME = "EVERGREEN_API_KEY"  # in the secrets file


def ensure(settings: Settings) -> None:
    """Make the key where there is none, or where the one that there is was revoked or belongs to another database."""
    key = read(settings)
    if key and keys.is_valid(settings.evergreen_url, key):
        return
    made = keys.create(settings.evergreen_url, f"the stack in {settings.home.name}", ["predict", "admin"])
    store.add_secrets(settings, {NAME: made})


def read(settings: Settings) -> str | None:
    """The key in the secrets file, if there is one."""
    return store.read_secrets(settings).get(NAME)


def show(settings: Settings) -> str:
    """The same.

    Raises:
        EvergreenError: there is none.
    """
    key = read(settings)
    if not key:
        raise EvergreenError(f"{settings.secrets_file} holds no key of the API: run `evergreen up`, which makes one.")
    return key
