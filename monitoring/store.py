"""What watching keeps in Postgres: profiles, verdicts on windows, performance as it becomes known, and retrainings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Literal

from monitoring import decide
from monitoring.decide import Decision, Past
from monitoring.findings import Finding
from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry import schema
from pipelines.registry.schema import query
from pipelines.scoring.predictions import Run

if TYPE_CHECKING:
    from monitoring.histograms import Histograms
    from monitoring.windows import Window
    from pipelines.registry.ledger import Version

Outcome = Literal["promoted", "rejected", "failed"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A row of verdicts: what was found in a window, and the one action."""

    sequence: int
    model: str
    window_key: str
    first_day: date
    last_day: date
    version: int
    judged_on: date
    row_count: int
    above_limit: bool
    alarmed: bool
    action: str
    why: str
    suppressed: str | None
    matured: str | None
    findings: list[Finding]
    figures: dict[str, Any]
    recorded_at: datetime

    @property
    def broken(self) -> bool:
        return self.action == "quarantine"

    @property
    def asks(self) -> list[str]:
        """Everything that it asks for: `decide.asks`."""
        return decide.asks(self.findings, self.action, self.suppressed)


@dataclass(frozen=True, kw_only=True)
class Performance:
    """A row of performances: what a window's mature labels said on one day."""

    sequence: int
    model: str
    window_key: str
    version: int
    judged_on: date
    labelled: int
    positives: int
    late: int
    metrics: dict[str, dict[str, float]]
    groups: dict[str, Any] | None
    recorded_at: datetime


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A row of retrainings, with the day on which the window that asked for it was judged."""

    sequence: int
    model: str
    run_id: str
    cause: str | None
    as_of: date | None
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    version: int | None
    judged_on: date | None


@dataclass(frozen=True)
class Counts:
    """Mature labels of a window: how many are known, are 1, and came or were corrected after they should have been final."""

    labelled: int
    positives: int
    late: int


@dataclass(frozen=True)
class Judgement:
    """What `record_verdict` is told, beside the window and its version."""

    judged_on: date
    rows: int
    above_limit: bool
    alarmed: bool
    decision: Decision
    matured: str | None
    findings: Sequence[Finding]
    figures: Mapping[str, Any] = field(default_factory=dict)


def runs_of(url: str, model: str, window: Window, version: int | None = None) -> list[Run]:
    """The complete run of each day of a window that has one, by a version; by default by who was champion then. They are runs
    of the API only where the window has no batch run."""
    with postgres.connect(url) as connection:
        values = {"model": model, "first_day": window.first, "last_day": window.last, "version": version}
        return [Run(**row) for row in query(connection, "window_runs", **values)]


def profiles_of(url: str, model: str, run_keys: Sequence[str]) -> dict[str, Histograms]:
    """Run key -> what was counted of that run; without those of which nothing was."""
    from monitoring import profiles

    parts: dict[str, list[str]] = {}
    with postgres.connect(url) as connection:
        for row in query(connection, "profiles_of_runs", model=model, run_keys=list(run_keys)):
            parts.setdefault(row["run_key"], []).append(row["histograms"])
    return {run_key: profiles.merge(texts) for run_key, texts in parts.items()}


def record_profile(url: str, version: Version, run_key: str, day: date, counted: Histograms) -> None:
    """Keep what was counted of a day that was only looked at; what is there already stays."""
    values = {"run_key": run_key, "as_of": day, "part": 0, "row_count": counted.rows, "histograms": counted.to_json()}
    with postgres.connect(url) as connection:
        query(connection, "record_profile", model=version.model, version=version.version, **values)


def verdicts(url: str, model: str) -> list[Verdict]:
    """The newest verdict on each window, oldest window first."""
    with postgres.connect(url) as connection:
        rows = query(connection, "verdicts", model=model)
    return [_verdict(row) for row in reversed(rows)]


def record_verdict(url: str, version: Version, window: Window, judged: Judgement) -> Verdict:
    """Keep a verdict for good."""
    values = {
        "model": version.model,
        "window_key": window.key,
        "first_day": window.first,
        "last_day": window.last,
        "version": version.version,
        "judged_on": judged.judged_on,
        "row_count": judged.rows,
        "above_limit": judged.above_limit,
        "alarmed": judged.alarmed,
        "action": judged.decision.action,
        "why": judged.decision.why,
        "suppressed": judged.decision.suppressed,
        "matured": judged.matured,
        "findings": _json([finding.to_dict() for finding in judged.findings]),
        "figures": _json(judged.figures),
    }
    with postgres.connect(url) as connection:
        return _verdict(query(connection, "record_verdict", **values)[0])


def performances(url: str, model: str, window_key: str | None = None, *, groups: bool = False) -> list[Performance]:
    """Judgements of mature labels, newest first, of one window or of all.

    Args:
        groups: read the figures by protected group as well, which are long; else they are None.
    """
    filters = {"model": model, "window_key": window_key, "with_groups": groups}
    with postgres.connect(url) as connection:
        return [Performance(**row) for row in query(connection, "performances", **filters)]


def record_performance(
    url: str,
    version: Version,
    window_key: str,
    judged_on: date,
    counts: Counts,
    metrics: Mapping[str, Mapping[str, float]],
    groups: Mapping[str, Any] | None,
) -> Performance:
    """Keep what a window's mature labels say now."""
    counted = {"labelled": counts.labelled, "positives": counts.positives, "late": counts.late, "judged_on": judged_on}
    figures = {"metrics": _json(metrics), "groups": None if groups is None else _json(groups)}
    key = {"model": version.model, "window_key": window_key, "version": version.version}
    with postgres.connect(url) as connection:
        return Performance(**query(connection, "record_performance", **key, **counted, **figures)[0])


def begin_retraining(url: str, model: str, run_id: str, cause: str | None, as_of: str | None) -> bool:
    """Note that a retraining begins; False where its cause has been answered by another one.

    The caller holds the model's retraining lock: others that did not end were killed.
    """
    with postgres.connect(url) as connection:
        query(connection, "bury_retrainings", model=model)
        return bool(query(connection, "begin_retraining", model=model, run_id=run_id, cause=cause, as_of=as_of))


def end_retraining(url: str, model: str, run_id: str, outcome: Outcome, *, version: int | None) -> None:
    """Note how it ended."""
    with postgres.connect(url) as connection:
        query(connection, "end_retraining", model=model, run_id=run_id, outcome=outcome, version=version)


def retrainings(url: str, model: str) -> list[Retraining]:
    """Every retraining, newest first. One that has not said how it ended, and is not running, was killed: it failed."""
    with postgres.connect(url) as connection:
        rows = [Retraining(**row) for row in query(connection, "retrainings", model=model)]
    if any(retraining.outcome is None for retraining in rows) and not _retrains(url, model):
        return [replace(retraining, outcome=retraining.outcome or "failed") for retraining in rows]
    return rows


def past(url: str, model: str, day: date) -> Past:
    """What `decide` is to know of retrainings on a day: those that windows asked for, on the days these were judged on; and
    whether one is under way, or asked for and not begun."""
    days = [
        retraining.judged_on for retraining in retrainings(url, model) if retraining.judged_on and retraining.judged_on <= day
    ]
    pending = unanswered(url, model)
    running = _retrains(url, model) or (pending is not None and pending.judged_on < day)
    return Past([datetime.combine(day_started, time(), UTC) for day_started in days], running)


def unanswered(url: str, model: str) -> Verdict | None:
    """The newest verdict that asks for a retraining, where none has begun since for any reason."""
    asking = [verdict for verdict in verdicts(url, model) if verdict.action == "retrain"]
    if not asking or any(retraining.started_at > asking[-1].recorded_at for retraining in retrainings(url, model)):
        return None
    return asking[-1]


def pending(url: str, model: str) -> list[Verdict]:
    """Verdicts that ask for something and that nobody was told of, oldest first."""
    with postgres.connect(url) as connection:
        return [_verdict(row) for row in query(connection, "pending_notifications", model=model)]


def record_notification(url: str, verdict: Verdict) -> None:
    """Note that a verdict was told."""
    with postgres.connect(url) as connection:
        query(connection, "record_notification", verdict=verdict.sequence)


def _retrains(url: str, model: str) -> bool:
    with postgres.connect(url) as connection:
        return bool(query(connection, "lock_holder", name=f"evergreen/retrain/{model}"))


def one_at_a_time(url: str, model: str) -> Any:
    """Hold the watching of a model, or refuse: at most one window is judged at a time."""
    return schema.locked(url, f"evergreen/monitor/{model}", f"A window of {model!r} is being judged already")


def window_of(url: str, model: str, key: str) -> Verdict:
    """The verdict on a window.

    Raises:
        EvergreenError: there is none; those that there are are listed.
    """
    judged = verdicts(url, model)
    for verdict in judged:
        if verdict.window_key == key:
            return verdict
    there_is = ", ".join(verdict.window_key for verdict in judged[-12:]) or "none yet"
    raise EvergreenError(f"Window {key!r} of {model!r} was not judged. Judged: {there_is}.")


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**row, "findings": [Finding(**finding) for finding in row["findings"]]})


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
