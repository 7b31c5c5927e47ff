"""How long a new state of the feed has lasted: the windows in a row that were quarantined for it.

A fault that is fixed lasts for a window or two. What lasts longer, or hurts by its own mature labels, is the world from now on:
it escalates (monitoring/decide.py), and its windows are the new baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.findings import Finding


@dataclass(frozen=True)
class Judged:
    """A window that was judged: its key, whether it was quarantined, and what was found in it."""

    key: str
    quarantined: bool
    findings: Sequence[Finding]


def state(findings: Sequence[Finding]) -> set[tuple[str, str]]:
    """What is new about the feed: (column, form of the fault); not by how much: a rolling sum takes months to get there."""
    return {(finding.about, finding.evidence.get("form", "")) for finding in findings if finding.kind == "data_incident"}


def lasting(earlier: Sequence[Judged], findings: Sequence[Finding]) -> list[str]:
    """Keys of the windows right before this one that were quarantined in the state that it shows, oldest first.

    Args:
        earlier: oldest first, without windows that had no row.
        findings: of this window.
    """
    now, keys = state(findings), []
    for window in reversed(earlier):
        if not window.quarantined or not now & state(window.findings):
            break
        keys.append(window.key)
    return keys[::-1]
