"""The first page of the report site: each model in ten seconds, what needs attention, then every model's timeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitoring.live import Answer
from monitoring.reports import chart, render
from monitoring.reports.marks import decision, mark, outcome
from monitoring.timeline import Matter, Model, Move, Now, Window, calm_since, is_below, open_matters
from pipelines.page import Link, Mark, Table, figure, name

TRIED = 3  # newest retrainings that a card names
COLUMNS = ("window", "verdict", "why", "performance", "estimate", "labels", "rows", "pages")


def index(models: Sequence[Model], written_at: str, answers: dict[str, Answer] | None = None) -> str:
    """HTML page.

    Args:
        written_at: UTC, for people.
        answers: by address, of the APIs and schedules that the models name (monitoring/live.py).
    """
    return render("index.html", **view(models, written_at, answers or {}))


def view(models: Sequence[Model], written_at: str, answers: dict[str, Answer]) -> dict[str, Any]:
    """What the page shows: cards newest first, all models' together, then a line for each model that needs nothing."""
    matters = [(model, matter) for model in models for matter in open_matters(model)]
    matters.sort(key=lambda pair: pair[1].window.judged_on, reverse=True)
    return {
        "title": "Evergreen",
        "trail": [("Evergreen", "")],
        "written_at": written_at,
        "models": [timeline(model, answers) for model in models],
        "cards": [_card(model, matter) for model, matter in matters],
        "calm": [_calm(model) for model in models if not open_matters(model)],
    }


def timeline(model: Model, answers: dict[str, Answer]) -> dict[str, Any]:
    """A model's state, its picture, and a row a window, a decision and a retraining."""
    retrainings = [[cause or "a person or the schedule", as_of, outcome(result)] for cause, as_of, result in model.retrainings]
    return {
        "name": name(model.name),
        "owner": model.owner,
        "metric": model.metric,
        "status": status(model, answers),
        "chart": chart.view(model),
        "windows": Table(COLUMNS, [_row(model, window) for window in model.windows], ("rows",)),
        "moves": Table(("version", "decision", "why", "as of", "UTC"), [_move(move) for move in model.moves]),
        "retrainings": Table(("asked for by", "as of", "outcome"), retrainings),
    }


def status(model: Model, answers: dict[str, Answer]) -> list[dict[str, Any]]:
    """A model in ten seconds: title, what is said large, its tone, what is said small; `live` where it is asked anew."""
    matters, now = open_matters(model), model.now
    tiles = [_champion(model, now), _figures(model)]
    if now:
        tiles.append(_scored(now))
    alerts = {"title": "Open alerts", "word": str(len(matters)), "tone": "bad" if matters else "good"}
    tiles.append(alerts | {"more": "; ".join(mark(matter.kind).word for matter in matters) or "nothing needs attention"})
    if model.is_retraining:
        tiles.append({"title": "Retraining", "word": "under way", "tone": "act", "more": ""})
    for title, kind, address in (("Schedules", "schedules", now.schedules), ("API", "api", now.api)) if now else ():
        if address in answers:
            tiles.append({"title": title, "live": kind, "address": address, "answer": answers[address]})
    return tiles


def _champion(model: Model, now: Now | None) -> dict[str, Any]:
    if model.champion is None:
        return {"title": "Champion", "word": "none", "tone": "warn", "more": "no version was promoted yet"}
    parts = []
    if now and now.since:
        days = (now.asked_at - now.since).days
        parts.append("since today" if days == 0 else "for 1 day" if days == 1 else f"for {days} days")
    if now and now.as_of:
        parts.append(f"trained as of {now.as_of}")
    tile = {"title": "Champion", "word": f"{model.name} v{model.champion}", "tone": "", "address": model.champion_link}
    return tile | {"more": ", ".join(parts)}


def _figures(model: Model) -> dict[str, Any]:
    """The figure on the newest snapshots at promotion, and on the newest window whose labels are mature."""
    newest, then = model.newest_mature, model.reference
    tile = {"title": f"{model.metric}, at promotion → now", "tone": "", "word": "–"}
    tile["more"] = f"now: window {newest.key}, mature labels" if newest else "no window of this champion has mature labels yet"
    if then:
        now = f"{newest.performance.point:.3f}" if newest and newest.performance else "–"
        tile |= {"word": f"{then.point:.3f} → {now}"}
    if newest:
        tile["tone"] = "bad" if is_below(newest, model) else "good"
    return tile


def _scored(now: Now) -> dict[str, Any]:
    if not now.scored:
        return {"title": "Newest scoring", "word": "none", "tone": "", "more": "nothing was scored yet"}
    day, moment, rows = now.scored
    return {"title": "Newest scoring", "word": f"{day}", "tone": "", "more": f"{rows:,} rows, {moment:%Y-%m-%d %H:%M} UTC"}


def _card(model: Model, matter: Matter) -> dict[str, Any]:
    window = matter.window
    return {
        "mark": mark(matter.kind),
        "model": name(model.name),
        "version": window.version,
        "key": window.key,
        "more": matter.windows - 1,
        "since": matter.since,
        "why": _why(model, matter),
        "because": because(window),
        "suppressed": window.suppressed if matter.kind == "suppressed" else "",
        "tried": _tried(matter),
        "owner": model.owner,
        "command": model.command(matter.kind, window.key),
        "links": window.links,
    }


def because(window: Window) -> list[str]:
    """What labels of earlier windows say, each with its own window's name."""
    return [f"Labels of window {key}, which are mature by now: {sentence}" for key, sentence in window.because]


def _why(model: Model, matter: Matter) -> str:
    window = matter.window
    if matter.kind != "below" or window.performance is None or model.reference is None:
        return window.why
    promised = figure(window.promised or model.reference)
    return (
        f"{model.metric} is {figure(window.performance)} on its mature labels; v{window.version} had {promised} at promotion."
    )


def _tried(matter: Matter) -> list[str]:
    """What was done about it, what it came to, and from when on a retraining can do better."""
    if matter.kind in ("quarantine", "review"):
        return []
    lines = []
    for as_of, result in matter.tried[:TRIED]:
        early = matter.seen_from and as_of < matter.seen_from
        blind = f": before {matter.seen_from} it could not see what has changed" if early else ""
        lines.append(f"Tried: retraining as of {as_of}, {outcome(result)}{blind}.")
    if matter.kind == "promoted":
        lines.append("It stays open until the labels of a window of the new champion show that it is repaired.")
    if matter.seen_from:
        lines.append(
            f"The first window that shows it is {matter.shown_in}. A retraining as of {matter.seen_from} or later can see it: "
            "that is its first snapshot, the horizon and the embargo."
        )
    return lines


def _calm(model: Model) -> dict[str, Any]:
    """That a model needs nothing, and since when; or that nobody has looked yet."""
    if not model.windows:
        return {"name": name(model.name), "newest": None, "command": model.command("start")}
    newest, calm = model.windows[0], calm_since(model)
    return {"name": name(model.name), "newest": newest, "mark": mark(newest.action), "since": calm.key if calm else ""}


def _row(model: Model, window: Window) -> list[Any]:
    address = next(iter(window.links.values()), "")  # the window's own page, which its key leads to
    result = model.outcome(window.key)
    why = [window.why, *because(window)]
    why += [f"Retraining suppressed: {window.suppressed}"] if window.suppressed else []
    why += [f"Retraining: {outcome(result)}"] if result and window.action == "retrain" else []
    return [
        [Link(window.key, address), f"by v{window.version}"],
        _marks(model, window),
        why,
        figure(window.performance),
        figure(window.estimate),
        window.known,
        f"{window.rows:,}",
        [Link(title, target) for title, target in list(window.links.items())[1:]],
    ]


def _marks(model: Model, window: Window) -> list[Mark]:
    """What a window asked for; and that its labels are below its version's figure, where it asked for nothing."""
    suppressed = ["suppressed"] if window.suppressed else []
    also = [wish for wish in window.also if not (wish == "retrain" and window.suppressed)]
    baseline = window.action == "none" and is_below(window, model)
    return [mark(action) for action in [*(["below"] if baseline else [window.action]), *suppressed, *also]]


def _move(move: Move) -> list[Any]:
    return [Link(f"version {move.version}", move.link), decision(move.decision), move.reason, move.as_of or "", move.made_at]
