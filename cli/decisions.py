"""A row of the promotion ledger in words: what became of a version, and of the champion that it was judged against."""

from __future__ import annotations

from pipelines.registry import tenures
from pipelines.registry.ledger import Promotion

WORDS = {  # by the finding of a verdict; any other is what the row itself says
    tenures.ROLLED_BACK: "rolled back",
    "by hand": "promoted by hand",
    "approved": "promoted, approved",
    "awaits review": "awaits review",
    "review expired": "was not reviewed",
}


def move(row: Promotion) -> str:
    """Such as "v1 -> v2  promoted" or "v2 rejected, v1 stays": only a move is drawn as one."""
    before, finding = f"v{row.from_version}" if row.from_version else "", row.verdict.get("finding", "")
    if row.decision == "promoted":
        return f"{before or 'none'} -> v{row.to_version}  {WORDS.get(finding, 'promoted')}"
    return f"v{row.to_version} {WORDS.get(finding, 'rejected')}, {f'{before} stays' if before else 'no champion'}"
