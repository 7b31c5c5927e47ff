"""What has happened to a model, window by window, and what of it asks for a person now.

Data and one rule; monitoring/reports/index.py makes a page of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date, datetime

    from pipelines.statistics.resampling import Interval

WINDOW = "WINDOW"  # in a command: the key of the window that it is about
ASKING = ("quarantine", "review", "retrain")  # actions that ask for a person


@dataclass(frozen=True)
class Window:
    """A window of the timeline, as it is judged now.

    key: "2025-03" (month), "2025-W14" (week) or "2025-03-31" (day); keys of one model sort by time.
    version: that scored it. action: of monitoring/decide.py, and `why`. held: why a retraining that was due was not asked for.
    estimate: of the metric, before labels. performance: of the metric on mature labels, as known now.
    known: what is known of the labels: "immature until 2025-05-14", "412 of 9,381 labels positive", "no rows, no labels".
    links: title -> address, relative to the site: the window's page first, then its reports and runs.
    also: what its findings ask for beside its action. shown_in, seen_from: where mature labels show a loss, the first window
        that shows it, and the day from which on a retraining can see it; "" where they show none.
    because: of earlier windows whose labels became mature with this one, what was found in them: (key, sentence). `why` is of
        this window alone.
    promised: what its version promised of the metric; by default what the champion did, for the champion's windows.
    """

    key: str
    version: int
    rows: int
    action: str
    why: str
    suppressed: str | None
    judged_on: date
    estimate: Interval | None
    performance: Interval | None
    known: str
    links: Mapping[str, str]
    also: Sequence[str] = ()
    shown_in: str = ""
    seen_from: str = ""
    promised: Interval | None = None
    because: Sequence[tuple[str, str]] = ()

    @property
    def wishes(self) -> list[str]:
        """What it asked for when it was judged: its action, a retraining that is held, and what else its findings ask for."""
        own_action = [self.action] if self.action in ASKING else []
        return list(dict.fromkeys([*own_action, *(["retrain"] if self.suppressed else []), *self.also]))

    @property
    def asks(self) -> bool:
        """Whether it asked for a person when it was judged."""
        return bool(self.wishes)

    @property
    def is_mature(self) -> bool:
        """Whether its labels have said how well the version did."""
        return self.performance is not None and math.isfinite(self.performance.point)


@dataclass(frozen=True)
class Move:
    """A decision of the promotion ledger: promoted, kept or rolled back. as_of: of the version's pin, its place in time."""

    version: int
    decision: str
    reason: str
    made_at: str
    as_of: str | None
    link: str


@dataclass(frozen=True)
class Now:
    """What runs now. asked_at: when that was looked at. as_of: the champion's pin; since: when it became champion.

    scored: (snapshot, when, rows) of the newest scoring. api: address of the model's API. schedules: address of Prefect's API,
        and after a # the model; "" where there is none to ask (monitoring/live.py).
    """

    asked_at: datetime
    since: datetime | None = None
    as_of: str | None = None
    scored: tuple[date, datetime, int] | None = None
    api: str = ""
    schedules: str = ""


@dataclass(frozen=True)
class Model:
    """A model's timeline.

    reference: what the champion promised of `metric`: on its newest snapshots, out of fold. windows, moves: newest first.
    retrainings: (key of the window that asked for it, or "", its as-of, its outcome, of which the first word is promoted, kept,
        failed or running).
    next_command: what to type, by `Matter.kind`; that of "retrain" stands in for held, kept, failed, missing and below, and
        that of "start" is for a model without windows.
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
    now: Now | None = None

    @property
    def is_retraining(self) -> bool:
        """Whether a retraining is under way."""
        return any(outcome.startswith("running") for _, _, outcome in self.retrainings)

    @property
    def newest_mature(self) -> Window | None:
        """The champion's newest window with mature labels."""
        return next((window for window in self.windows if window.is_mature and window.version == self.champion), None)

    def outcome(self, key: str) -> str:
        """Of the retraining that a window asked for; "" where there is none."""
        return next((outcome for window, _, outcome in self.retrainings if window == key), "")

    def command(self, kind: str, key: str = "") -> str:
        """What to type next about a window; "" where nothing is known to help."""
        if self.is_retraining and kind in ("retrain", "suppressed", "failed", "missing", "below"):
            return ""  # one runs: there is nothing to start
        instead = (
            self.next_command.get("retrain", "") if kind in ("suppressed", "rejected", "failed", "missing", "below") else ""
        )
        return self.next_command.get(kind, instead).replace(WINDOW, key)


@dataclass(frozen=True)
class Matter:
    """Something that asks for a person: the newest window that shows it, and how many do, since which.

    kind: block, review, retrain (asked for just now), held (a retraining is due and may not start), or what became of a
        retraining: running, kept (the champion stayed), failed, missing (nobody started it), or promoted (another version is
        champion, and no window has shown yet that it does better); or below: the champion's labels are below what it promised.
    tried: (as of when, what it came to) of each retraining since then, newest first.
    shown_in, seen_from: as of `Window`, of the oldest of the windows.
    """

    kind: str
    window: Window
    since: str
    windows: int
    tried: Sequence[tuple[str, str]] = ()
    shown_in: str = ""
    seen_from: str = ""


def open_matters(model: Model) -> list[Matter]:
    """What asks for a person now, newest first: one matter of blocks, one of reviews, one of retrainings."""
    windows_by_wish: dict[str, list[Window]] = {}
    kinds: dict[str, str] = {}
    for at, window in enumerate(model.windows):
        later = [other for other in model.windows[:at] if other.key != window.key]
        for wish in window.wishes:
            if is_open(wish, later, model):
                windows_by_wish.setdefault(wish, []).append(window)
                kinds.setdefault(wish, kind(window, wish, bool(later), model))
    if "retrain" not in windows_by_wish and (below := _below(model)):
        windows_by_wish["retrain"], kinds["retrain"] = below, "below"
    return [_matter(model, kinds[wish], shown) for wish, shown in windows_by_wish.items()]


def is_open(wish: str, later: Sequence[Window], model: Model) -> bool:
    """Whether what a window asked for is still to be done, by the windows after it.

    A block is over once a later window with rows was not blocked: the feed is sound again. A review and a retraining are over
    once a later window shows that it is repaired: scored by the champion, with mature labels that are not below its promise,
    and asking for nothing. A new champion alone repairs nothing, and a window without mature labels has not seen enough.
    """
    if wish == "quarantine":
        return all(other.action == "quarantine" or not other.rows for other in later)
    return not any(_is_repaired(other, model) for other in later)


def is_below(window: Window, model: Model) -> bool:
    """Whether the mature labels of a window lie below what its version promised, with their whole interval."""
    promised = window.promised or (model.reference if window.version == model.champion else None)
    if promised is None or window.performance is None or not window.is_mature:
        return False
    return window.performance.high < promised.point


def kind(window: Window, wish: str, has_later: bool, model: Model) -> str:
    """Of a matter: see `Matter`."""
    if wish != "retrain":
        return wish
    if model.champion not in (None, window.version):
        return "promoted"
    if window.suppressed:
        return "suppressed"
    outcome = model.outcome(window.key).split(" ")[0].rstrip(":,")
    if outcome in ("rejected", "failed", "running"):
        return outcome
    return "missing" if has_later and not outcome else "retrain"


def _is_repaired(window: Window, model: Model) -> bool:
    """Whether a window shows that what an earlier one asked for is not needed any more."""
    judged_by_labels = window.is_mature or not any(
        other.is_mature for other in model.windows
    )  # a table may have no labels at all
    by_champion = model.champion in (None, window.version)
    return window.rows > 0 and not window.asks and by_champion and judged_by_labels and not is_below(window, model)


def _below(model: Model) -> list[Window]:
    """The champion's newest windows with mature labels, as many as are below its promise without one between that is not."""
    windows = []
    for window in model.windows:
        if window.version != model.champion or not window.is_mature:
            continue
        if not is_below(window, model):
            break
        windows.append(window)
    return windows


def _matter(model: Model, kind: str, shown: Sequence[Window]) -> Matter:
    since = shown[-1].key
    tried = [(as_of, outcome) for cause, as_of, outcome in model.retrainings if (cause or as_of) >= since]
    first = next((window for window in reversed(shown) if window.seen_from), shown[-1])
    return Matter(kind, shown[0], since, len(shown), tried, first.shown_in, first.seen_from)


def calm_since(model: Model) -> Window | None:
    """The oldest of the newest windows that asked for nothing, one after the other; None where the newest one asks."""
    calm = None
    for window in model.windows:
        if window.asks:
            break
        calm = window
    return calm
