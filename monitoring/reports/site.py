"""The report site: static pages, written whole, that work without a network.

`<site>/<model>/v<version>/` holds a version's verdict, card, plots and reports; `<site>/<model>/red/<run>/` what a failed run
left to read. The first page, and those of windows (`<site>/<model>/windows/<key>/`), are made in monitoring/reports/.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from markupsafe import Markup

from monitoring.reports import render
from pipelines import sanitize
from pipelines.config.stage import write_text
from pipelines.page import Link, Trail, with_trail

BEGIN, END = "<!-- verdict -->", "<!-- end of verdict -->"  # what a later answer replaces on a version's page
SUMMARY = "summary"
# What the reports of a version are, page by page: title, and what is on it.
SENTENCES = {
    "bias.html": (
        "Bias audit",
        "decisions and errors by protected group and pair of groups, and which disparities are significant.",
    ),
    "classification.html": (
        "Classification",
        "the challenger at its threshold, out of fold: errors, precision, recall.",
    ),
    "drift.html": ("Data drift", "the newest snapshots against those before."),
    "data.html": ("What the data looks like", "statistics and distribution of every column, and the target's rate by value."),
}


def write_version(
    site: Path,
    model: str,
    version: int,
    *,
    verdict: Mapping[str, str],
    card: str,
    reports: Mapping[str, Path],
    links: Mapping[str, str],
) -> None:
    """The pages of one version.

    Args:
        verdict: HTML, as monitoring/reports/verdict.py makes it: by file name the pages about the verdict, and by SUMMARY
            what the version's own page begins with.
        card: Markdown; HTML in it is shown as text.
        reports: title -> HTML file, or folder with an index.html, or folder of PNG plots. The pages that SENTENCES knows
            are listed with what is on them.
        links: title -> address of pages elsewhere (Prefect, MLflow).
    """
    staging, named = _staging(site / model / f"v{version}"), f"{sanitize.text(model)} v{version}"
    trail = [("Evergreen", "../../index.html"), (named, "")]
    shown, plots, pages = dict(links), [], []
    for title, source in reports.items():
        name = source.name
        if source.is_dir():
            shutil.copytree(source, staging / name)
            plots += sorted(f"{name}/{path.name}" for path in source.glob("*.svg"))
            pages += [f"{name}/{page}" for page in SENTENCES if (source / page).exists()]
            _lead_back(staging / name, title, trail)
        elif source.exists():
            shutil.copyfile(source, staging / name)
        first = f"{name}/index.html" if source.is_dir() else name
        if (staging / first).exists():
            shown[title] = first
    text = render(
        "version.html",
        title=named,
        trail=trail,
        links=shown,
        summary=Markup(f"{BEGIN}{verdict[SUMMARY]}{END}"),
        pages=list_pages(pages),
        plots=plots,
        card=_markdown(card),
    )
    write_text(staging / "index.html", text)
    _write_pages(staging, verdict)
    _publish(staging, site / model / f"v{version}")


def replace_verdict(site: Path, model: str, version: int, verdict: Mapping[str, str]) -> None:
    """Another verdict on the pages of a version, where it has any: a person answered, say. `verdict` as in write_version."""
    folder = site / model / f"v{version}"
    if not (folder / "index.html").exists():
        return
    before, _, rest = (folder / "index.html").read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    _write_pages(folder, verdict)
    if rest:
        write_text(folder / "index.html", f"{before}{BEGIN}{verdict[SUMMARY]}{END}{after}")


def list_pages(addresses: Iterable[str]) -> list[tuple[Link, str]]:
    """Links to report pages, with a sentence each."""
    return [(Link(SENTENCES[Path(address).name][0], address), SENTENCES[Path(address).name][1]) for address in addresses]


def write_red(site: Path, model: str, run: str, *, error: str, reports: Path) -> str:
    """What a failed run left to read; returns its path within the site."""
    staging = _staging(site / model / "red" / run)
    trail = [("Evergreen", "../../../index.html"), (f"{sanitize.text(model)}: a run that failed", "")]
    for source in sorted(path for path in reports.glob("*") if path.is_dir()):
        shutil.copytree(source, staging / source.name)
        _lead_back(staging / source.name, source.name, trail)
    pages = [Link(path.parent.name, path.relative_to(staging).as_posix()) for path in sorted(staging.glob("*/index.html"))]
    text = render("stopped.html", title=f"{sanitize.text(model)}: failed", trail=trail, lines=error.splitlines(), pages=pages)
    write_text(staging / "index.html", text)
    _publish(staging, site / model / "red" / run)
    return f"{model}/red/{run}/index.html"


def _lead_back(folder: Path, title: str, trail: Trail) -> None:
    """In each page of a folder that was copied here, the way back: to the pages that it has come to lie below.

    Args:
        trail: of the page in the folder above.
    """
    (first, home), (above, _) = trail
    for path in folder.rglob("*.html"):
        up = "../" * len(path.relative_to(folder).parts)
        name = SENTENCES[path.name][0] if path.name in SENTENCES else path.stem.replace("_", " ")
        own_trail = [(title, "")] if path.name == "index.html" else [(title, "index.html"), (name, "")]
        text = path.read_text(encoding="utf-8")
        path.write_text(with_trail(text, [(first, f"{up}{home}"), (above, f"{up}index.html"), *own_trail]), encoding="utf-8")


def _write_pages(folder: Path, pages: Mapping[str, str]) -> None:
    for name, content in pages.items():
        if name != SUMMARY:
            write_text(folder / name, content)


def _markdown(text: str) -> Markup:
    """Markdown as HTML; HTML in it is shown as text."""
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    rendered = re.sub(r"(</?h)([1-4])>", lambda tag: f"{tag[1]}{int(tag[2]) + 1}>", rendered)  # below the page's own heading
    return Markup(rendered.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>"))


def _staging(folder: Path) -> Path:
    staging = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    return staging


def _publish(staging: Path, folder: Path) -> None:
    """Swap the finished folder in; what it replaces goes after it."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    staging.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
