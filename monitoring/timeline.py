"""What has happened to a model, window by window, and what of it asks for a person now.

Data and one rule; monitoring/pages/index.py makes a page of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

    from pipelines.resampling import Interval

WINDOW = "WINDOW"  # in a command: the key of the window that it is about
ASKING = ("block", "review", "retrain")  # actions that ask for a person


@dataclass(frozen=True)
class Window:
    """A window of the timeline, as it is judged now.

    key: "2025-03" (month), "2025-W14" (week) or "2025-03-31" (day); keys of one model sort by time.
    version: that scored it. action: of monitoring/decide.py, and `why`. held: why a retraining that was due was not asked for.
    estimate: of the metric, before labels. performance: of the metric on mature labels, as known now.
    known: what is known of the labels: "immature until 2025-05-14", "412 of 9,381 labels positive".
    links: title -> address, relative to the site: the window's page first, then its reports and runs.
    """

    key: str
    version: int
    rows: int
    action: str
    why: str
    held: str | None
    judged_on: date
    estimate: Interval | None
    performance: Interval | None
    known: str
    links: Mapping[str, str]

    @property
    def asks(self) -> bool:
        """Whether it asked for a person when it was judged."""
        return self.action in ASKING or self.held is not None

    @property
    def is_mature(self) -> bool:
        """Whether its labels have said how well the version did."""
        return self.performance is not None and math.isfinite(self.performance.point)


@dataclass(frozen=True)
class Move:
    """A decision of the promotion ledger: promoted or kept. as_of: the version's pin, which places it on the timeline."""

    version: int
    decision: str
    reason: str
    made_at: str
    as_of: str | None
    link: str


@dataclass(frozen=True)
class Model:
    """A model's timeline.

    reference: the champion's `metric` on its newest snapshots, out of fold. windows, moves: newest first.
    retrainings: (key of the window that asked for it, or "", its as-of, its outcome, of which the first word is promoted, kept,
        failed or running).
    next_command: what to type, by `Matter.kind`; that of "retrain" stands in for held, kept, failed and missing, and that of
        "start" is for a model without windows.
    """

    name: str
    owner: str
    metric: str
    champion: int | None
    champion_link: str
    reference: Interval | None
    windows: Sequence[Window]
    moves: Sequence[Move]
    retrainings: Sequence[tuple[str, str, str]]
    next_command: Mapping[str, str]

    def outcome(self, key: str) -> str:
        """Of the retraining that a window asked for; "" where there is none."""
        return next((outcome for window, _, outcome in self.retrainings if window == key), "")

    def command(self, kind: str, key: str = "") -> str:
        """What to type next about a window; "" where nothing is known to help."""
        instead = self.next_command.get("retrain", "") if kind in ("held", "kept", "failed", "missing") else ""
        return self.next_command.get(kind, instead).replace(WINDOW, key)


@dataclass(frozen=True)
class Matter:
    """Something that asks for a person: the newest window that shows it, and how many do, since which.

    kind: block, review, retrain (asked for just now), held (a retraining is due and may not start), or what became of a
        retraining: kept (the champion stayed), failed, or missing (nobody started it).
    """

    kind: str
    window: Window
    since: str
    windows: int


def open_matters(model: Model) -> list[Matter]:
    """What asks for a person now, newest first: one matter of blocks, one of reviews, one of retrainings."""
    found: dict[str, list[Window]] = {}
    kinds: dict[str, str] = {}
    for at, window in enumerate(model.windows):
        later = [other for other in model.windows[:at] if other.key != window.key]
        if is_open(window, later, model):
            wish = "retrain" if window.held else window.action  # a retraining that is held is asked for again: one wish
            found.setdefault(wish, []).append(window)
            kinds.setdefault(wish, kind(window, bool(later), model))
    return [Matter(kinds[wish], shown[0], shown[-1].key, len(shown)) for wish, shown in found.items()]


def is_open(window: Window, later: Sequence[Window], model: Model) -> bool:
    """Whether a window still asks for a person.

    A block is over once a later window was not blocked: the feed is sound again. A review, a retraining that was asked for
    and one that was held are about a version: they are over once another one is champion, or once a later window asks for
    nothing although its labels are mature. A window without mature labels takes nothing back: it has not seen enough. A
    retraining that runs is no matter either, unless it was asked for by the newest window.
    """
    if not window.asks:
        return False
    if window.action == "block":
        return all(other.action == "block" for other in later)
    if model.champion not in (None, window.version):
        return False
    if later and window.action == "retrain" and model.outcome(window.key).startswith("running"):
        return False
    return all(other.asks or not other.is_mature for other in later)


def kind(window: Window, has_later: bool, model: Model) -> str:
    """Of a matter: see `Matter`."""
    if window.action != "retrain":
        return "held" if window.held else window.action
    outcome = model.outcome(window.key).split(" ")[0].rstrip(":,")
    if outcome in ("kept", "failed"):
        return outcome
    return "missing" if has_later and not outcome else "retrain"


def calm_since(model: Model) -> Window | None:
    """The oldest of the newest windows that asked for nothing, one after the other; None where the newest one asks."""
    calm = None
    for window in model.windows:
        if window.asks:
            break
        calm = window
    return calm
