"""What an action or a matter is called. Each is told by its word and its sign as well as by its colour."""

from __future__ import annotations

from pipelines.page import Mark

MARKS = {
    "quarantine": Mark("✕", "quarantine", "bad"),
    "review": Mark("◆", "review", "warn"),
    "retrain": Mark("▲", "retrain", "act"),
    "suppressed": Mark("△", "retraining suppressed", "act"),
    "rejected": Mark("△", "retrained, challenger rejected", "act"),
    "failed": Mark("△", "retraining failed", "act"),
    "missing": Mark("△", "retraining not started", "act"),
    "running": Mark("△", "retraining under way", "act"),
    "promoted": Mark("△", "retrained, not yet shown to help", "act"),
    "below": Mark("▽", "performance lost", "act"),
    "info": Mark("●", "info", "info"),
    "none": Mark("·", "none", "calm"),
}
DECISIONS = {  # of the promotion ledger
    "promoted": Mark("✓", "promoted", "good"),
    "rejected": Mark("✕", "rejected", "warn"),
    "rolled back": Mark("↩", "rolled back", "act"),
    "awaits review": Mark("◆", "awaits review", "warn"),
}


def mark(action: str) -> Mark:
    return MARKS.get(action, Mark("·", action, "calm"))


def decision(made: str) -> Mark:
    return DECISIONS.get(made, Mark("·", made, "calm"))


def outcome(result: str) -> str:
    """What a retraining came to, as people read it: `rejected: v2` is how the ledger says that the challenger was rejected."""
    first, _, rest = result.partition(":")
    return f"{'rejected' if first == 'rejected' else first}{':' if rest else ''}{rest}"
