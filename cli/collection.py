"""`evergreen store gc`: what can go, kind by kind, as text; and its going."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from flows import cache_sweep, garbage
from flows.garbage import Garbage, Ground
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger

SHOWN = 3  # of a kind
FINDERS = (
    garbage.workspaces,
    garbage.refs,
    garbage.pages,
    garbage.local_bundles,
    garbage.runs,
    garbage.scores,
)
Say = Callable[[str], None]


def collect(settings: Settings, *, delete: bool, clones: Sequence[Path], say: Say, now: float | None = None) -> list[Garbage]:
    """Say what can go, and take it away where that is asked for; what that is. A retraining is refused meanwhile.

    Args:
        clones: others that share cache and remote.
        now: seconds since 1970; by default the clock's.

    Raises:
        EvergreenError: params.yaml has no section gc, a clone is none, or a retraining is running.
    """
    config = params.read(settings.folder / "params.yaml")
    if config.gc is None:
        raise EvergreenError("params.yaml has no section `gc`, which says what is kept: copy it from sql/telco/params.yaml.")
    if wrong := [str(clone) for clone in clones if not (clone / ".git").exists()]:
        raise EvergreenError(f"--clone {', '.join(wrong)}: no clone is there. Nothing was taken away.")
    with ledger.retraining_lock(settings.promoter_url, config.model), ledger.keeping_lock(settings.promoter_url):
        at = garbage.ground(settings, config.model, config.gc, now)
        say(f"Needed of {config.model}: {', '.join(f'v{number}' for number in sorted(at.kept)) or 'no version yet'}.")
        items = _collectable(at, clones, say)
        _report(items, delete, say)
        if delete:
            for item in items:
                item.remove()
        return items


def _collectable(at: Ground, clones: Sequence[Path], say: Say) -> list[Garbage]:
    """What can go; of a kind that cannot be looked through it is said why."""
    kinds: list[Callable[[], Iterable[Garbage]]] = [partial(finder, at) for finder in FINDERS]
    kinds.append(partial(cache_sweep.cache, at, clones))
    items = []
    for kind in kinds:
        try:
            items.append(list(kind()))
        except EvergreenError as error:
            say(str(error))
    return list(chain.from_iterable(items))


def _report(items: Sequence[Garbage], delete: bool, say: Say) -> None:
    for kind in dict.fromkeys(item.kind for item in items):
        of_kind = [item for item in items if item.kind == kind]
        say(f"\n{kind}: {len(of_kind)}, {_megabytes(of_kind)}")
        for item in of_kind[:SHOWN]:
            say(f"  {item.what}")
        if len(of_kind) > SHOWN:
            say(f"  and {len(of_kind) - SHOWN} more")
    if not items:
        say("Nothing can go.")
    elif delete:
        say(f"\nTaken away: {len(items)} things, {_megabytes(items)}.")
    else:
        say(f"\nNothing was taken away. `evergreen store gc --delete` takes these {len(items)} things, {_megabytes(items)}.")


def _megabytes(items: Sequence[Garbage]) -> str:
    return f"{sum(item.size for item in items) / 1e6:,.1f} MB"
