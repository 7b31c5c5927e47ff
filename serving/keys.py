"""API keys: made and revoked in Postgres, checked in the server against what it last read there.

A key is `eg_ID_SECRET`. The secret has 256 random bits, so its plain SHA-256 can be guessed by nobody; digests are compared in
constant time, and a key whose id is unknown is compared as well.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, get_args

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry.schema import query

Scope = Literal["predict", "admin"]
NOBODY = "0" * 64  # the digest of no key


@dataclass(frozen=True, kw_only=True)
class Key:
    """A row of api_keys."""

    key_id: str
    sha256: str = field(repr=False)
    name: str
    scopes: list[str]
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True)
class Keyring:
    """The keys that are valid: id -> (digest, scopes)."""

    known: Mapping[str, tuple[str, frozenset[str]]]

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> Keyring:
        """Of rows of api_keys, those that are not revoked; who may administrate may predict."""
        valid = [row for row in rows if row["revoked_at"] is None]
        return cls({row["key_id"]: (row["sha256"], frozenset([*row["scopes"], *_implied(row["scopes"])])) for row in valid})

    def scopes(self, authorization: bytes) -> frozenset[str] | None:
        """What the bearer of an Authorization header may do; None where the key is none of ours, or revoked."""
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        digest, scopes = self.known.get(token[3:11].decode("latin-1"), (NOBODY, frozenset()))
        same = hmac.compare_digest(hashlib.sha256(token).hexdigest(), digest)
        return scopes if same and scheme.lower() == b"bearer" else None


def create(url: str, name: str, scopes: Sequence[str]) -> str:
    """A new key, in full: it can be read nowhere afterwards.

    Raises:
        EvergreenError: a scope is unknown.
    """
    if not scopes or {*scopes} - {*get_args(Scope)}:
        raise EvergreenError(f"A key's scopes are {' and '.join(get_args(Scope))}; found {', '.join(scopes) or 'none'}.")
    key_id = secrets.token_hex(4)
    key = f"eg_{key_id}_{secrets.token_urlsafe(32)}"
    with postgres.connect(url) as connection:
        query(connection, "create_api_key", key_id=key_id, sha256=digest(key), name=name, scopes=sorted(set(scopes)))
    return key


def listed(url: str) -> list[Key]:
    """Every key, revoked ones too, oldest first."""
    with postgres.connect(url) as connection:
        return [Key(**row) for row in query(connection, "api_keys")]


def revoke(url: str, key_id: str) -> Key:
    """End a key: servers hear of it within seconds. Doing it twice is once.

    Raises:
        EvergreenError: there is no such key; those that there are are listed.
    """
    with postgres.connect(url) as connection:
        rows = query(connection, "revoke_api_key", key_id=key_id)
        if not rows:
            existing = ", ".join(row["key_id"] for row in query(connection, "api_keys")) or "none yet"
            raise EvergreenError(f"There is no key {key_id!r}. Keys: {existing}.")
        return Key(**rows[0])


def is_valid(url: str, key: str) -> bool:
    """Whether a key is one of ours, and not revoked."""
    return any(key_row.sha256 == digest(key) and key_row.revoked_at is None for key_row in listed(url))


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _implied(scopes: Sequence[str]) -> list[str]:
    return ["predict"] if "admin" in scopes else []
