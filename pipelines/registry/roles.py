"""Who may do what in our own database: one role for each kind of work, beside the owner, who migrates it.

A role's rights are what its file in sql/schema/rights/ says, no more and no less. They are given anew whenever the stack
comes up, since a new table comes with a new version of those files, and a role may be one that the user has just made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pipelines.config.settings import PARTS, Settings
from pipelines.data import postgres
from pipelines.registry import schema

if TYPE_CHECKING:
    import psycopg

RIGHTS = schema.FOLDER / "rights"


def of(settings: Settings) -> dict[str, str]:
    """Kind of work -> the role that does it, where that is not the owner itself."""
    owner = name_of(settings.evergreen_url)
    named = {kind: name_of(getattr(settings, f"{kind}_url")) for kind in PARTS}
    return {kind: role for kind, role in named.items() if role != owner}


def name_of(url: str) -> str:
    """The role that a URL connects by."""
    return unquote(urlsplit(url).username or "")


@dataclass(frozen=True)
class Standing:
    """What a role is, beside the rights that it was given."""

    role: str
    is_mighty: bool  # an administrator, or one who makes roles or databases
    owns_tables: bool  # of ours, or is a member of who does
    may_enter: bool  # the schema
    may_stage: bool  # in a temporary table
    other_databases: list[str]  # of MLflow and Prefect, that it can connect to


def standing(url: str) -> Standing:
    """What the role of a URL is in our own database.

    Raises:
        EvergreenError: it cannot connect.
    """
    with postgres.connect(url) as connection:
        return Standing(name_of(url), **schema.query(connection, "standing_of_role")[0])


def grant(url: str, roles: Mapping[str, str]) -> None:
    """Give each role its rights, and no others; one that does two kinds of work has both. Two at once take turns.

    Args:
        url: our own database by its owner, migrated.

    Raises:
        EvergreenError: there is no such role, or the owner may not say.
    """
    with postgres.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtextextended('evergreen/migrate', 0))")
        connection.execute("create schema if not exists optuna")  # a backup leaves it out
        for role in set(roles.values()):
            _execute(connection, "nothing", role)
        for kind, role in roles.items():
            _execute(connection, "connect", role, watches=str(kind == "watcher").lower())
            _execute(connection, kind, role)


def _execute(connection: psycopg.Connection, statements: str, role: str, **words: str) -> None:
    text = (RIGHTS / f"{statements}.sql").read_text(encoding="utf-8")
    for name, word in {"role": postgres.identifier(role), **words}.items():
        text = text.replace(f"{{{name}}}", word)
    connection.execute(text)
