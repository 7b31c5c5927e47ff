"""What the data gate saw of the faults that were planted, as Markdown and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import stage
from studies.selftest import Claim, corruptions

BLOCKED, SEEN = "#2f6b3a", "#cbd5c0"


@dataclass(frozen=True)
class Trial:
    """What became of one planted fault.

    column: those that were hit. blocked: a critical check is red; named: by the right column and kind; warned: any is.
    found: what blocked it.
    """

    table: str
    kind: str
    strength: str
    seed: int
    column: str
    blocked: bool
    named: bool
    warned: bool
    found: str


def write(trials: Sequence[Trial], claims: Sequence[Claim], out: Path) -> None:
    """The figures to `out`, and beside it their picture."""
    tables = list(dict.fromkeys(trial.table for trial in trials))
    lines = [
        "# What the data gate sees",
        "",
        "Written by `python -m studies.selftest validation --out`; docs/explanation/data-gate.md says what it means.",
        "",
    ]
    lines += [f"- {claim.message}: {claim.seen}" for claim in claims]
    for must, title in (
        (True, "Faults that must be seen: blocked, by column and kind"),
        (False, "Subtle ones: blocked / seen at all"),
    ):
        lines += ["", f"## {title}", "", f"| kind | strength | {' | '.join(tables)} |", f"|---|---|{'---|' * len(tables)}"]
        for kind, strength in _asked(must=must):
            of = [[one for one in trials if (one.table, one.kind, one.strength) == (table, kind, strength)] for table in tables]
            lines.append(f"| {kind} | {strength} | {' | '.join(_cell(some, must) for some in of)} |")
    stage.write_text(out, "\n".join(lines) + "\n")
    draw(trials, out.with_suffix(".png"))


def _asked(*, must: bool) -> list[tuple[str, str]]:
    """Kinds and strengths, in their order."""
    return [(kind.name, words) for kind in corruptions.KINDS if kind.must == must for _, words in kind.strengths]


def _cell(trials: Sequence[Trial], must: bool) -> str:
    if not trials:
        return "-"
    if must:
        return f"{sum(trial.blocked and trial.named for trial in trials)} of {len(trials)}"
    return f"{sum(trial.blocked for trial in trials)} / {sum(trial.warned for trial in trials)} of {len(trials)}"


def draw(trials: Sequence[Trial], picture: Path) -> None:
    """Of each subtle kind and strength the share that is blocked, and the share that is seen at all, over all tables."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    rows = _asked(must=False)
    figure, axes = pyplot.subplots(figsize=(8, 0.8 + 0.26 * len(rows)), layout="constrained")
    for height, (kind, words) in enumerate(reversed(rows)):
        some = [trial for trial in trials if (trial.kind, trial.strength) == (kind, words)]
        if some:
            axes.barh(height, sum(one.warned for one in some) / len(some), color=SEEN)
            axes.barh(height, sum(one.blocked for one in some) / len(some), color=BLOCKED)
    axes.set_yticks(range(len(rows)), [f"{kind}, {words}" for kind, words in reversed(rows)], fontsize=8)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of planted faults, over all tables")
    axes.legend(handles=[Patch(color=BLOCKED, label="blocked"), Patch(color=SEEN, label="warned of")], loc="lower right")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
