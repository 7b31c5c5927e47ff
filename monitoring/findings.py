"""What a window shows: each finding with its evidence, its sample size, its threshold and a sentence for a person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from monitoring.drift import Drift

OWN = {":prediction": "the score", ":target": "the target", ":all": "all columns together"}  # names that no column can have
Kind = Literal["data_incident", "loss", "drift", "estimated_loss", "bias", "info", "warning", "insufficient"]


@dataclass(frozen=True)
class Finding:
    """One thing seen in one window.

    kind: what `decide` goes by. about: a column, a metric or a group. value, threshold: in the unit that `says` names; None
    where there is nothing to compare. rows: the sample behind it. evidence: JSON, for who wants to look closer.
    window: key of the window that the figures are of: the one that was judged, or an earlier one whose labels are mature;
        "" where it is not known, as in ledgers of earlier days.
    """

    kind: Kind
    about: str
    message: str
    rows: int
    value: float | None = None
    threshold: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    window: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def of_window(findings: Iterable[Finding], key: str) -> list[Finding]:
    """The findings, as of this window."""
    return [replace(finding, window=key) for finding in findings]


def of_drift(drift: Drift, alarm: bool, rows: int) -> list[Finding]:
    """What a window's verdict on drift amounts to: nothing, drift, a suspicion, or that nothing can be said.

    Args:
        alarm: whether it is confirmed (monitoring.drift.confirmed).
    """
    if drift.evidence:
        message = f"Drift cannot be judged: {drift.evidence} ({rows:,} rows, {drift.blocks} baseline windows)."
        return [Finding("insufficient", "drift", message, rows, evidence=drift.to_dict())]
    if not drift.above_limit:
        return []
    column, channel, _ = drift.largest[0]
    columns = ", ".join(_name(moved) for moved in drift.columns[:5]) or "many columns a little"
    figures = f"the largest change, {channel} of {_name(column)}, scores {drift.score:.1f}, baseline windows stay below"
    tail = "" if alarm else " The next window confirms it or not."
    message = f"The data moved in {columns}: {figures} {drift.threshold:.1f}.{tail}"
    kind: Kind = "drift" if alarm else "warning"
    return [Finding(kind, columns, message, rows, drift.score, drift.threshold, drift.to_dict())]


def _name(column: str) -> str:
    """A column as a sentence has it."""
    return OWN.get(column, column)
