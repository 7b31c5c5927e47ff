"""The first page of the report site: what needs attention, then the timeline of every model."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.reports import chart, markup, site
from monitoring.reports.markup import figure, link, links, mark, name, text
from monitoring.timeline import Matter, Model, Move, Window, calm_since, is_below, open_matters

TRIED = 3  # newest retrainings that a card names
NEWEST = 12  # rows of a table that are open; earlier ones unfold
STYLE = """<style>
body { max-width: 75rem; }
.matter { border: 1px solid var(--line); border-left: .35rem solid currentColor; border-radius: 4px; padding: .6rem .9rem;
  margin: .8rem 0; }
.matter > * { color: CanvasText; } .matter h3 { margin: 0 0 .3rem; font-size: 1.05rem; }
.matter p { margin: .3rem 0; }
.calm { border-left: .35rem solid var(--good); padding: .3rem .9rem; margin: .8rem 0; }
.calm p { margin: .3rem 0; } .unwatched { border-color: var(--line); }
</style>"""
NO_MODEL = "<p>No model was published yet: <code>prefect deployment run 'retrain/churn' --watch</code>.</p>"
COLUMNS = ("window", "verdict", "why", "performance", "estimate", "labels", "rows", "pages")


def index(models: Sequence[Model], written_at: str) -> str:
    """HTML page.

    Args:
        written_at: UTC, for people.
    """
    body = [markup.STYLE, chart.STYLE, STYLE, "<h1>Evergreen</h1>"]
    if models:
        body += ["<h2>What needs attention</h2>", *attention(models), *(timeline(model) for model in models)]
    else:
        body.append(NO_MODEL)
    body.append(f'<p class="quiet">Written {text(written_at)}.</p>')
    return site.page("Evergreen", body)


def attention(models: Sequence[Model]) -> list[str]:
    """A card a matter, all models' together; and a line for each model that needs nothing."""
    matters = [(model, matter) for model in models for matter in open_matters(model)]
    matters.sort(key=lambda found: found[1].window.judged_on, reverse=True)
    cards = [_card(model, matter) for model, matter in matters]
    return [*cards, *(_calm(model) for model in models if not open_matters(model))]


def timeline(model: Model) -> str:
    """A model's champion, its picture, and a row a window."""
    rows = [_row(model, window) for window in model.windows]
    body = [f"<h2>{name(model.name)}</h2>", f"<p>{_champion(model)}</p>"]
    if rows:
        body.append(f"<h3>{text(model.metric)} by window</h3>")
        body.append(f'{chart.chart(model)}<p class="quiet">{text(chart.LEGEND)}</p>')
        body.append(f"<h3>Windows</h3>{_folded(COLUMNS, rows, 'earlier windows', numbers=('rows',))}")
    if model.moves:
        header = ("version", "decision", "why", "as of", "UTC")
        body.append(f"<h3>Versions</h3>{_folded(header, [_move(move) for move in model.moves], 'earlier decisions')}")
    if model.retrainings:
        asked = [
            [text(window or "by hand or schedule"), text(as_of), text(outcome)] for window, as_of, outcome in model.retrainings
        ]
        body.append(f"<h3>Retrainings</h3>{_folded(('asked for by', 'as of', 'outcome'), asked, 'earlier retrainings')}")
    return "".join(body)


def _card(model: Model, matter: Matter) -> str:
    window = matter.window
    key, since = (f'<span class="plain">{text(one)}</span>' for one in (window.key, matter.since))
    many = f", and {matter.windows - 1} more since {since}" if matter.windows > 1 else ""
    command = markup.command(model.command(matter.kind, window.key))
    parts = [
        f"<h3>{mark(matter.kind)} {name(model.name)} v{window.version}, window {key}{many}</h3>",
        f"<p>{_why(model, matter)}</p>",
        f"<p>Not asked for: {text(window.held)}</p>" if matter.kind == "held" else "",
        *_tried(matter),
        f"<p>Owner: {text(model.owner)}.{' Next:' if command else ''}</p>{command}",
        f"<p>{links(window.links)}</p>",
    ]
    return f'<section class="matter is-{matter.kind}">{"".join(parts)}</section>'


def _why(model: Model, matter: Matter) -> str:
    window = matter.window
    if matter.kind != "below" or window.performance is None or model.reference is None:
        return text(window.why)
    return (
        f"{text(window.key)}: {text(model.metric)} is {figure(window.performance)} on mature labels, "
        f"and v{window.version} promised {figure(model.reference)}."
    )


def _tried(matter: Matter) -> list[str]:
    """What was done about it, what it came to, and from when on a retraining can do better."""
    if matter.kind in ("block", "review"):
        return []
    lines = []
    for as_of, outcome in matter.tried[:TRIED]:
        early = matter.seen_from and as_of < matter.seen_from
        blind = f": before {text(matter.seen_from)} it could not see what has changed" if early else ""
        lines.append(f"<p>Tried: retraining as of {text(as_of)}, {text(outcome)}{blind}.</p>")
    if matter.kind == "promoted":
        lines.append("<p>It stays open until the labels of a window of the new champion show that it is repaired.</p>")
    if matter.seen_from:
        lines.append(
            f"<p>The first window that shows it is {text(matter.shown_in)}. A retraining as of {text(matter.seen_from)} or "
            "later can see it: that is its first snapshot, the horizon and the embargo.</p>"
        )
    return lines


def _calm(model: Model) -> str:
    """That a model needs nothing, and since when; or that nobody has looked yet."""
    if not model.windows:
        start = markup.command(model.command("start"))
        return f'<div class="calm unwatched"><p>{name(model.name)}: no window was watched yet.</p>{start}</div>'
    newest, calm = model.windows[0], calm_since(model)
    since = f" since window {text(calm.key)}" if calm else ""
    said = f"{mark(newest.action)} in the newest window, {text(newest.key)}: {text(newest.why)}"
    return f'<div class="calm"><p><b>{name(model.name)}: nothing needs attention{since}.</b></p><p>{said}</p></div>'


def _champion(model: Model) -> str:
    if model.champion is None:
        return f"No version is champion. Owner: {text(model.owner)}."
    newest = f", {text(model.metric)} {figure(model.reference)} on its newest snapshots, out of fold" if model.reference else ""
    return f"Champion: {link(f'version {model.champion}', model.champion_link)}{newest}. Owner: {text(model.owner)}."


def _row(model: Model, window: Window) -> list[str]:
    address = next(iter(window.links.values()), "")  # the window's own page, which its key leads to
    outcome = model.outcome(window.key)
    why = [text(window.why)]
    why += [f"<b>Retraining held:</b> {text(window.held)}"] if window.held else []
    why += [f"<b>Retraining:</b> {text(outcome)}"] if outcome and window.action == "retrain" else []
    return [
        f'<span class="plain">{link(window.key, address)}</span> by&nbsp;v{window.version}',
        " ".join(map(mark, _marks(model, window))),
        "<br>".join(why),
        figure(window.performance),
        figure(window.estimate),
        text(window.known),
        f"{window.rows:,}",
        links(dict(list(window.links.items())[1:])),
    ]


def _marks(model: Model, window: Window) -> list[str]:
    """What a window asked for; and that its labels are below its version's promise, where it asked for nothing."""
    held = ["held"] if window.held else []
    also = [wish for wish in window.also if not (wish == "retrain" and window.held)]
    quiet = window.action == "nothing" and is_below(window, model)
    return [*(["below"] if quiet else [window.action]), *held, *also]


def _move(move: Move) -> list[str]:
    decision = move.decision if move.decision in ("promoted", "kept") else ""
    return [
        link(f"version {move.version}", move.link),
        f'<span class="{decision}">{text(move.decision)}</span>',
        text(move.reason),
        text(move.as_of or ""),
        text(move.made_at),
    ]


def _folded(header: Sequence[str], rows: list[list[str]], earlier: str, numbers: Sequence[str] = ()) -> str:
    """A table of the newest rows, and one of the earlier ones that unfolds without a script."""
    shown = markup.table(header, rows[:NEWEST], numbers=numbers)
    if len(rows) <= NEWEST:
        return shown
    rest = markup.table(header, rows[NEWEST:], numbers=numbers)
    return f"{shown}<details><summary>{len(rows) - NEWEST} {earlier}</summary>{rest}</details>"
