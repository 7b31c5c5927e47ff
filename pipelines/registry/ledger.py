"""The ledger: which versions of a model exist, and every decision about which of them is champion.

It is the truth; MLflow's aliases mirror it. A promotion is one compare-and-swap on the champion's revision.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from pipelines.config import stage
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.data import postgres
from pipelines.registry import schema
from pipelines.registry.schema import migrate as migrate  # the ledger's face: nobody else needs to know of schema.py
from pipelines.registry.schema import pending_migrations as pending_migrations
from pipelines.registry.schema import query


class ChampionMovedError(TransientError):
    """Somebody else promoted between the reading of the revision and the promotion; nothing was changed: judge again."""


@dataclass(frozen=True, kw_only=True)
class Registration:
    """What is known of a bundle when it is registered."""

    model: str
    bundle_sha256: str
    onnx_sha256: str
    manifest: dict[str, str]  # file of the bundle -> its SHA-256
    data_manifest_sha256: str
    params_sha256: str
    git_commit: str
    git_ref: str  # the run's ref: what `evergreen model checkout` brings back
    mlflow_run_id: str
    mlflow_version: int
    metrics: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Version(Registration):
    """A row of model_versions."""

    version: int
    created_at: datetime
    sequence: int

    def __str__(self) -> str:
        return f"v{self.version}"


@dataclass(frozen=True, kw_only=True)
class Champion(Version):
    """The version that serves, and the revision of its reign."""

    revision: int


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A row of promotions: a decision about moving the championship from one version to another."""

    sequence: int
    model: str
    revision: int
    decision: Literal["promoted", "rejected"]
    from_version: int | None
    to_version: int
    actor: str
    reason: str
    verdict: dict[str, Any]
    created_at: datetime


def register_version(url: str, new: Registration) -> Version:
    """The version of this bundle: the next number of its model, or the one it was given the first time."""
    with postgres.connect(url) as connection:
        connection.execute("select pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"evergreen/register/{new.model}"])
        rows = query(connection, "version_of_bundle", model=new.model, bundle_sha256=new.bundle_sha256)
        if not rows:
            values = asdict(new) | {"manifest": json.dumps(new.manifest), "metrics": json.dumps(new.metrics, allow_nan=False)}
            rows = query(connection, "register_version", **values)
    return Version(**rows[0])


def find(url: str, model: str, bundle_sha256: str) -> Version | None:
    """The version of a bundle, where it was registered."""
    with postgres.connect(url) as connection:
        rows = query(connection, "version_of_bundle", model=model, bundle_sha256=bundle_sha256)
    return Version(**rows[0]) if rows else None


def models(url: str) -> list[str]:
    """Names of all models that have a version."""
    with postgres.connect(url) as connection:
        return [row["model"] for row in query(connection, "models")]


def versions(url: str, model: str) -> list[Version]:
    """Every version, newest first."""
    with postgres.connect(url) as connection:
        return [Version(**row) for row in query(connection, "versions", model=model)]


def version(url: str, model: str, number: int) -> Version:
    """One version.

    Raises:
        EvergreenError: there is no such version; those that there are are listed.
    """
    existing = versions(url, model)
    for candidate in existing:
        if candidate.version == number:
            return candidate
    there_is = (
        f"There is {', '.join(map(str, existing))}"
        if existing
        else "None is published yet: `evergreen run retrain` makes the first"
    )
    raise EvergreenError(f"Model {model!r} has no version {number}. {there_is}.")


def champion(url: str, model: str) -> Champion | None:
    """The version that serves; None before the first promotion."""
    with postgres.connect(url) as connection:
        rows = query(connection, "champion", model=model)
    return Champion(**rows[0]) if rows else None


def challenger(url: str, model: str) -> Version | None:
    """The newest version, unless it was ever champion."""
    with postgres.connect(url) as connection:
        rows = query(connection, "challenger", model=model)
    return Version(**rows[0]) if rows else None


def history(url: str, model: str, rows: int = 1000) -> list[Promotion]:
    """The newest decisions, newest first, moves and refusals alike."""
    with postgres.connect(url) as connection:
        return [Promotion(**row) for row in query(connection, "history", model=model, rows=rows)]


def snapshot_reuse(url: str, model: str, snapshot: str, *, version: int, revision: int) -> int:
    """How many decisions the rows of a snapshot have served when `version` is judged against the champion of `revision`.

    This decision included: 1 is the first use. `snapshot` is what a verdict says that it judged on.
    """
    values = {"model": model, "snapshot": snapshot, "version": version, "revision": revision}
    with postgres.connect(url) as connection:
        return query(connection, "snapshot_reuse", **values)[0]["reuse"]


def promote(
    url: str, model: str, to_version: int, *, expected_revision: int, actor: str, reason: str, verdict: Mapping[str, Any]
) -> Promotion:
    """Make a version champion, if the champion is still the one that it was judged against.

    Args:
        expected_revision: `champion(...).revision` as it was read before judging; 0 for none.

    Raises:
        ChampionMovedError: the revision is over.
        EvergreenError: there is no such version, or it is the champion already.
    """
    version(url, model, to_version)
    with postgres.connect(url) as connection:
        now = _now(connection, model)
        if now and (now.revision, now.version) == (expected_revision, to_version):
            raise EvergreenError(f"v{to_version} is the champion of {model!r} already, since revision {now.revision}.")
        values = {"actor": actor, "reason": reason, "verdict": json.dumps(verdict, allow_nan=False)}
        rows = query(connection, "promote", model=model, to_version=to_version, expected_revision=expected_revision, **values)
        if not rows:
            now = _now(connection, model)
            current = f"{now} of revision {now.revision}" if now else "none"
            raise ChampionMovedError(
                f"v{to_version} of {model!r} was judged against the champion of revision {expected_revision}; the champion is "
                f"now {current}. Nothing was changed: judge it again, against the new one."
            )
        stage.fault("promote:uncommitted")
    return Promotion(**rows[0])


def record_rejection(
    url: str, model: str, to_version: int, *, revision: int, actor: str, reason: str, verdict: Mapping[str, Any]
) -> Promotion | None:
    """Note that a version was judged against the champion of `revision` (0: none) and not promoted.

    Returns:
        The row; None when the latest decision about this version says the same already.
    """
    version(url, model, to_version)
    values = {"actor": actor, "reason": reason, "verdict": json.dumps(verdict, allow_nan=False)}
    with postgres.connect(url) as connection:
        rows = query(connection, "record_rejection", model=model, to_version=to_version, revision=revision, **values)
    return Promotion(**rows[0]) if rows else None


@contextmanager
def retraining_lock(url: str, model: str) -> Iterator[Callable[[], None]]:
    """Hold the retraining of a model: one at a time, on however many machines.

    Gives a function that confirms the lock: it raises when the session that holds it was lost, in a restart of Postgres,
    say, because another retraining may then have begun.

    Raises:
        EvergreenError: one is already running.
    """
    with schema.locked(url, f"evergreen/retrain/{model}", f"A retraining of {model!r} is already running") as lives:

        def confirm() -> None:
            if not lives():
                raise TransientError(
                    f"The lock on retraining {model!r} was lost: the database ended its session, in a restart, say, and "
                    "another retraining may have begun. Nothing was published. Run it again: finished stages are restored."
                )

        yield confirm


def keeping_lock(url: str) -> Any:
    """Hold what is kept as it is, or refuse: nothing is collected or erased while a backup is made, and the other way round."""
    return schema.locked(url, "evergreen/keep", "A backup is being made, or something is collected or erased")


def rebuilding_lock(url: str, model: str, number: int) -> Any:
    """Hold the rebuilding of a version, which has one workspace, or refuse."""
    return schema.locked(url, f"evergreen/rebuild/{model}/v{number}", f"v{number} of {model!r} is being rebuilt already")


def _now(connection: Any, model: str) -> Champion | None:
    rows = query(connection, "champion", model=model)
    return Champion(**rows[0]) if rows else None
