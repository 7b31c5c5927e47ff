"""Pieces of pages that we write ourselves: texts, links, tables and marks, all of them escaped. No script anywhere."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from monitoring.reports import sanitized

if TYPE_CHECKING:
    from pipelines.statistics.resampling import Interval

NONE = "–"
ADDRESS = re.compile(r"(?!//)(https?://|(?![\w+.\-]*:))[!#-%(-;=?-~]*")  # a page elsewhere or of this site, never a script
STYLE = """<style>
:root { --block: #b3261e; --retrain: #6f3fc0; --review: #8a5a00; --note: #2f6690; --nothing: #5f6368; --soft: #8882; }
@media (prefers-color-scheme: dark) {
  :root { --block: #ff8a80; --retrain: #c3a6ff; --review: #f0b64a; --note: #86b9e0; --nothing: #a5abb2; }
}
h1, h2, h3 { overflow-wrap: anywhere; } p, td { overflow-wrap: break-word; }
.quiet { opacity: .75; font-size: .92em; }
.mark { display: inline-block; border: 1px solid currentColor; border-radius: 4px; padding: 0 .4em; font-weight: 600;
  font-size: .9em; white-space: nowrap; }
.is-block { color: var(--block); } .is-review { color: var(--review); } .is-note { color: var(--note); }
.is-retrain, .is-held, .is-kept, .is-failed, .is-missing { color: var(--retrain); } .is-nothing { color: var(--nothing); }
.is-running, .is-promoted, .is-below { color: var(--retrain); }
td.number, th.number { text-align: right; white-space: nowrap; } .plain { white-space: nowrap; }
pre.command { background: var(--soft); border-radius: 4px; padding: .4rem .6rem; margin: .4rem 0; white-space: pre-wrap;
  overflow-wrap: anywhere; }
summary { cursor: pointer; }
@media (max-width: 700px) {
  body { margin: 1rem auto; }
  .stack tr:first-child:has(th) { display: none; }
  .stack, .stack tbody { display: block; }
  .stack tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  .stack td { display: grid; grid-template-columns: 6.5rem minmax(0, 1fr); border: 0; padding: .1rem 0; text-align: left; }
  .stack td:empty { display: none; }
  .stack td.number, .stack .plain { white-space: normal; }
  .stack td::before { content: attr(data-label); opacity: .7; }
}
</style>"""
# What an action or a matter is called. Each is told by its word and its sign as well as by its colour.
WORDS = {
    "block": "✕ block",
    "review": "◆ review",
    "retrain": "▲ retrain",
    "held": "△ retraining held",
    "kept": "△ retrained, champion kept",
    "failed": "△ retraining failed",
    "missing": "△ retraining not started",
    "running": "△ retraining under way",
    "promoted": "△ retrained, not yet shown to help",
    "below": "▽ below its promise",
    "note": "● note",
    "nothing": "· nothing",
}


def text(value: object) -> str:
    """A sentence as HTML."""
    return html.escape(sanitized.sentence(value))


def name(value: object) -> str:
    """A name as HTML, which may go on in the next line after an underscore."""
    return html.escape(sanitized.text(value)).replace("_", "_<wbr>")


def mark(action: str) -> str:
    """The word for an action or a matter, in its colour."""
    style = action if action in WORDS else "nothing"
    return f'<span class="mark is-{style}">{WORDS[action] if action in WORDS else text(action)}</span>'


def link(title: str, address: str) -> str:
    """A link; its title alone where the address is none that may be followed."""
    if not address or not ADDRESS.fullmatch(address):
        return text(title)
    return f'<a href="{html.escape(address)}">{text(title)}</a>'


def links(addresses: Mapping[str, str]) -> str:
    return " · ".join(link(title, address) for title, address in addresses.items())


def command(line: str) -> str:
    """A line to type, which is shown as it is to be typed."""
    return f'<pre class="command">{html.escape(sanitized.visible(line))}</pre>' if line else ""


def figure(interval: Interval | None, digits: int = 3) -> str:
    """A figure with its interval, which stays on one line where there is room."""
    if interval is None or interval.point != interval.point:
        return NONE
    ends = f"[{interval.low:.{digits}f},\N{NO-BREAK SPACE}{interval.high:.{digits}f}]"
    return f"{interval.point:.{digits}f} {ends}"


def number(value: float | None, form: str = ".3g") -> str:
    """A number, or a dash where there is none."""
    return NONE if value is None or value != value else format(value, form)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str] = ()) -> str:
    """A table, whose rows become lists of their own on a phone.

    Args:
        header: plain texts. rows: cells as HTML. numbers: those of the header below which numbers stand.
    """
    kinds = [' class="number"' if title in numbers else "" for title in header]
    head = "".join(f"<th{kind}>{text(title)}</th>" for kind, title in zip(kinds, header, strict=True))
    labels = [f'{kind} data-label="{text(title)}"' for kind, title in zip(kinds, header, strict=True)]
    body = "".join(
        "<tr>" + "".join(_cell(label, cell) for label, cell in zip(labels, row, strict=True)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="stack"><tr>{head}</tr>{body}</table></div>' if rows else "<p>None.</p>"


def _cell(attributes: str, cell: str) -> str:
    return f"<td{attributes}><div>{cell}</div></td>" if cell else f"<td{attributes}></td>"
