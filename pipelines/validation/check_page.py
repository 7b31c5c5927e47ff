"""What a gate on data leaves behind: its verdict as JSON, a page, and, where it failed, the error that ends the stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines import page
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.page import Link, Mark, Table
from pipelines.validation.checks import KINDS, Check, plain

PASSED, FAILED, WARNED = Mark("✓", "passed", "good"), Mark("✕", "failed", "bad"), Mark("!", "warning", "warn")
NO_ACCOUNT = Table((), ())


@dataclass(frozen=True)
class Above:
    """What stands above the checks: sentences, links to what else there is, and where the source's rows went."""

    said: Sequence[str]
    links: Sequence[Link] = ()
    account: Table = NO_ACCOUNT


def conclude(title: str, checks: Sequence[Check], found: Mapping[str, Any], above: Above, verdict: Path, docs: Path) -> None:
    """Write the verdict and the page, print the warnings, and only then raise for what is critical.

    Args:
        found: what the verdict says beside the checks; `rows` among it.

    Raises:
        EvergreenError: a critical check failed; all of them are listed.
    """
    failed = [check for check in checks if not check.success]
    critical = [check for check in failed if check.severity == "critical"]
    stage.write_json(verdict, {"success": not critical, **found, "checks": [asdict(check) for check in checks]})
    stage.write_text(docs / "index.html", page.render("checks.html", **view(title, checks, above)))
    for check in failed:
        if check.severity == "warning":
            stage.say(f"WARNING: {check}")
    counted = f"{len(critical)} critical failures, {len(failed) - len(critical)} warnings"
    stage.say(f"{len(checks)} checks of {found['rows']} rows: {counted}.")
    if critical:
        lines = [f"  {check}" for check in critical]
        raise EvergreenError("\n".join([f"{len(critical)} critical checks failed. Report: {docs / 'index.html'}", *lines]))


def view(title: str, checks: Sequence[Check], above: Above) -> dict[str, Any]:
    """What the page of checks shows, what failed first."""
    failed = [check for check in checks if not check.success]
    critical = sum(check.severity == "critical" for check in failed)
    header = ["Result", "Check", "Column", "Expected", "Found", *(["What is wrong", "What to do"] if failed else [])]
    word = "failed" if critical else "passed"
    warned = len(failed) - critical
    return {
        "title": f"{title} {word}",
        "trail": [("Evergreen", ""), (title, "")],  # where it will lie is known by who puts it there
        "subject": title,
        "word": word,
        "tone": "bad" if critical else "good",
        "counted": f"{len(checks)} checks: {critical} failed, {warned} warning{'' if warned == 1 else 's'}.",
        "said": above.said,
        "links": above.links,
        "account": above.account,
        "checks": Table(
            header, [_row(check, len(header)) for check in sorted(checks, key=lambda check: (check.success, check.severity))]
        ),
    }


def _row(check: Check, columns: int) -> list[Any]:
    mark = PASSED if check.success else FAILED if check.severity == "critical" else WARNED
    wrong = ["", ""] if check.success else [KINDS.get(check.kind, ""), check.advice]
    return [mark, check.type, plain(check.column), check.expected, check.observed, *wrong][:columns]
