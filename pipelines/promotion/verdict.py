"""What a gate says: an outcome, the checks that led to it, and the numbers behind them."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Finding = Literal[
    "fit to serve",  # the first champion
    "better",
    "too small a gain",
    "insufficient evidence",
    "worse",
    "not as good elsewhere",  # better in the metric, and not shown to hold what else the champion holds
    "unfair",  # better, or fit to serve, and shown to harm a group
    "identical",
    "not comparable",
    "by hand",  # somebody decided, whatever the figures said
    "rolled back",  # the same, to who was champion before
    "ineligible",  # fails what any champion must hold, whatever it is compared with
    # where a person has the last word (promotion.mode: review), of what would become champion
    "awaits review",
    "approved",
    "rejected",
    "review expired",
    "champion moved",  # approved, and by then another version was champion than it was judged against
]
PROMOTING = ("fit to serve", "better", "by hand", "rolled back", "approved")


@dataclass(frozen=True)
class Check:
    """One question with its answer."""

    name: str
    passed: bool | None  # None: could not be asked
    observed: float | str | None  # None: no number
    limit: float | str | None
    why: str
    next_step: str  # what to do where it did not pass


@dataclass(frozen=True)
class Comparison:
    """The challenger against the champion in one figure, signed so that more is better, with its paired interval.

    The whole interval is to lie above `limit`: 0 for a gain, below 0 for what may be lost.
    """

    name: str
    unit: str
    point: float | None  # None: no number
    low: float | None
    high: float | None
    limit: float

    @property
    def holds(self) -> bool:
        return self.low is not None and self.low > self.limit


@dataclass(frozen=True)
class Verdict:
    """Whether a version becomes champion, in a sentence a person reads, with its evidence.

    evidence: `gain`, `low`, `high` (of the metric, positive where the challenger is better), `rows`, `entities` and
        `positives` that were judged on, which `use` of the snapshot's rows it was, the gain that was `detectable`, and
        of how many groups harm is `significant_harm` or `inconclusive_harm`; what could not be computed is absent.
    snapshot: which rows were judged on, so that uses of the same ones can be counted; None where none were looked at.
    rules: the params by which it was judged.
    review: what a person answered: `asked` (sequence of the decision that asked), `answer`, `by` and `comment`.
    """

    finding: Finding
    headline: str
    checks: Sequence[Check] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()
    snapshot: str | None = None
    rules: Mapping[str, Any] = field(default_factory=dict)
    review: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Literal["promoted", "rejected"]:
        return "promoted" if self.finding in PROMOTING else "rejected"

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Verdict:
        """A verdict as the ledger holds it, which may be of earlier days."""
        return cls(
            saved["finding"],
            saved["headline"],
            [Check(**check) for check in saved["checks"]],
            saved["evidence"],
            [Comparison(**comparison) for comparison in saved.get("comparisons", ())],
            saved.get("snapshot"),
            saved.get("rules", {}),
            saved.get("review", {}),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every number is finite or None."""
        return {
            "outcome": self.outcome,
            "finding": self.finding,
            "headline": self.headline,
            "checks": [_finite_values(asdict(check)) for check in self.checks],
            "evidence": _finite_values(self.evidence),
            "comparisons": [_finite_values(asdict(comparison)) for comparison in self.comparisons],
            "snapshot": self.snapshot,
            "rules": dict(self.rules),
            "review": dict(self.review),
        }

    def markdown(self) -> str:
        """A page: the verdict, the numbers, then one row a check."""
        lines = [f"# {self.outcome.capitalize()}: {self.finding}", "", _cell(self.headline), ""]
        if self.evidence:
            lines += ["| " + " | ".join(self.evidence) + " |", "|" + " ---: |" * len(self.evidence)]
            lines += ["| " + " | ".join(_cell(value) for value in self.evidence.values()) + " |", ""]
        if self.checks:
            lines += ["| check | | observed | limit | why it is asked | next step |", "|---|---|---|---|---|---|"]
            lines += [_line(check) for check in self.checks]
        return "\n".join(lines).rstrip() + "\n"


def _line(check: Check) -> str:
    answer = {True: "passed", False: "**failed**", None: "not asked"}[check.passed]
    next_step = "" if check.passed else check.next_step
    cells = [_cell(value) for value in (check.name, check.observed, check.limit, check.why, next_step)]
    return "| " + " | ".join([cells[0], answer, *cells[1:]]) + " |"


def _finite_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _finite(value) for name, value in values.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    """Text that can neither break the table nor be read as HTML: a column may be named anything."""
    if value is None or isinstance(value, float):
        return "none" if _finite(value) is None else f"{value:.4f}"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
