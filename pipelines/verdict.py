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
    "unfair",  # better, or fit to serve, and shown to harm a group
    "identical",
    "not comparable",
    "by hand",  # somebody decided, whatever the figures said
    "unfit",  # fails what any champion must hold, whatever it is compared with
]
PROMOTING = ("fit to serve", "better", "by hand")


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
class Verdict:
    """Whether a version becomes champion, in a sentence a person reads, with its evidence.

    `evidence` holds `gain`, `low`, `high` (of the metric, challenger minus champion), `rows`, `entities` and
    `positives` that were judged on, and of how many groups harm is `harm_proven` or `harm_unproven`; what could not be
    computed is absent.
    """

    finding: Finding
    headline: str
    checks: Sequence[Check] = ()
    evidence: Mapping[str, float] = field(default_factory=dict)

    @property
    def outcome(self) -> Literal["promoted", "kept"]:
        return "promoted" if self.finding in PROMOTING else "kept"

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> Verdict:
        """A verdict as the ledger holds it."""
        checks = [Check(**check) for check in saved["checks"]]
        return cls(saved["finding"], saved["headline"], checks, saved["evidence"])

    def to_dict(self) -> dict[str, Any]:
        """For JSON: every number is finite or None."""
        return {
            "outcome": self.outcome,
            "finding": self.finding,
            "headline": self.headline,
            "checks": [{name: _finite(value) for name, value in asdict(check).items()} for check in self.checks],
            "evidence": {name: _finite(value) for name, value in self.evidence.items()},
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


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    """Text that can neither break the table nor be read as HTML: a column may be named anything."""
    if value is None or isinstance(value, float):
        return "none" if _finite(value) is None else f"{value:.4f}"
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")
