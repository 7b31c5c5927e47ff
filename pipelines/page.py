"""How pages are made: Jinja2 templates and one stylesheet, by which nothing of a value ever becomes more than text.

Every value that a template writes is made one line without signs that are not seen, and is then escaped. HTML is only what a
template holds itself, and what the filters below mark as such.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from pipelines import sanitize

if TYPE_CHECKING:
    from jinja2 import Environment

    from pipelines.statistics.resampling import Interval

Trail = Sequence[tuple[str, str]]  # title and address of the pages above one, the first page first; "" for the page itself
HERE = Path(__file__).parent / "templates"
NONE = "–"
ADDRESS = re.compile(r"(?!//)(https?://|(?![\w+.\-]*:))[!#-%(-;=?-~]*")  # a page elsewhere or of this site, never a script
HEADER = re.compile(r"<!-- header -->.*?<!-- end of header -->", re.S)


class Link(NamedTuple):
    title: str
    address: str


class Mark(NamedTuple):
    """A word that is told by its sign as well as by its colour. tone: good, bad, act, warn, info or calm."""

    sign: str
    word: str
    tone: str


@dataclass(frozen=True)
class Table:
    """header: plain texts. rows: cells, each a text, a number, a Link, a Mark, or a list of these.

    numbers: those of the header below which numbers stand. none: what is said where there is no row.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    numbers: Sequence[str] = ()
    none: str = "None."


def render(template: str, *, folder: Path = HERE, **values: Any) -> str:
    """A page, or a part of one.

    Args:
        folder: where templates lie that are not shared by all.
    """
    return _environment(folder).get_template(template).render(values)


def with_trail(page: str, trail: Trail) -> str:
    """The same page, which has come to lie elsewhere: another way back in its header."""
    return HEADER.sub(lambda _: render("header.html", trail=trail).strip(), page, count=1)


def framed(page: str, title: str, trail: Trail, top: str = "", style: str = "") -> str:
    """A page that another library has made, with our header and style.

    Args:
        top: HTML that comes before its own. style: CSS beside that of all pages.
    """
    head = render("frame.html", title=title, style=Markup(style))
    page = page.replace("<head>", f"<head>{head}", 1) if "<head>" in page else head + page
    above = render("header.html", trail=trail) + (f"<main>{top}</main>" if top else "")
    return re.sub(r"<body[^>]*>", lambda body: body[0] + above, page, count=1).lstrip()


@cache
def _environment(folder: Path) -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader([HERE, folder]),
        autoescape=True,
        finalize=lambda value: sanitize.sentence(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"name": name, "figure": figure, "number": number, "command": command, "with_commands": with_commands}
    made.tests |= {"a_link": lambda cell: isinstance(cell, Link), "a_mark": lambda cell: isinstance(cell, Mark)}
    made.tests["several"] = lambda cell: isinstance(cell, list)
    made.tests["followable"] = lambda address: bool(address) and ADDRESS.fullmatch(address) is not None
    return made


def name(value: object) -> Markup:
    """A name as HTML, which may go on in the next line after an underscore."""
    return escape(sanitize.text(value)).replace("_", Markup("_<wbr>"))


def command(line: str) -> Markup:
    """A line to type, as it is to be typed."""
    return escape(sanitize.visible(line))


def with_commands(sentence: str) -> Markup:
    """A sentence in which what stands in backticks is something to type."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(sanitize.sentence(sentence)))))


def figure(interval: Interval | None, digits: int = 3) -> Markup:
    """A figure with its interval, which stays on one line where there is room."""
    if interval is None or interval.point != interval.point:
        return Markup(NONE)
    if (interval.low, interval.high) == (0.0, 1.0):  # of a share: it may be anything
        return Markup("too few rows")
    return Markup(f"{interval.point:.{digits}f} [{interval.low:.{digits}f},\N{NO-BREAK SPACE}{interval.high:.{digits}f}]")


def number(value: float | None, form: str = "") -> Markup:
    """A number in three digits that count, or as `form` says; a dash where there is none."""
    if value is None or value != value:
        return Markup(NONE)
    usual = ",.0f" if abs(value) >= 1000 else ".3g"
    return Markup(format(value, form or usual).replace("-", "−"))
