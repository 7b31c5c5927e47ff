"""The report site: static pages, written whole, that work without a network.

`<site>/<model>/v<version>/` holds a version's verdict, card, plots and reports; `<site>/<model>/red/<run>/` what a failed run
left to read. The first page, and those of windows (`<site>/<model>/windows/<key>/`), are made in monitoring/reports/.
"""

from __future__ import annotations

import html
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipelines.config.stage import write_text

BEGIN, END = "<!-- verdict -->", "<!-- end of verdict -->"  # what a later answer replaces on a version's page
SUMMARY = "summary"
STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --kept: #9a6700; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } a { color: #2d7d46; } code { overflow-wrap: anywhere; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92em; }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 1rem; }
.plots img { width: 100%; background: white; border-radius: 4px; }
.promoted { color: var(--good); font-weight: 600; } .kept { color: var(--kept); font-weight: 600; }
nav a { margin-right: 1rem; }
@media (prefers-color-scheme: dark) { :root { --good: #57c271; --kept: #d8a43b; } a { color: #6ccf89; } }
"""

# What the reports of a version are, page by page: title, and what is on it.
SENTENCES = {
    "bias.html": ("Bias audit", "decisions and errors by protected group and pair of groups, and whether harm is proven."),
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
    staging = _staging(site / model / f"v{version}")
    shown, plots, pages = dict(links), [], []
    for title, source in reports.items():
        name = source.name
        if source.is_dir():
            shutil.copytree(source, staging / name)
            plots += sorted(f"{name}/{path.name}" for path in source.glob("*.png"))
            pages += [f"{name}/{known}" for known in SENTENCES if (source / known).exists()]
        elif source.exists():
            shutil.copyfile(source, staging / name)
        first = f"{name}/index.html" if source.is_dir() else name
        if (staging / first).exists():
            shown[title] = first
    body = [
        f'<nav><a href="../../index.html">all models</a>{_links(shown)}</nav>',
        f"{BEGIN}{verdict[SUMMARY]}{END}",
        list_pages(pages),
        '<div class="plots">'
        + "".join(f'<img alt="{html.escape(plot)}" src="{html.escape(plot)}">' for plot in plots)
        + "</div>",
        _markdown(card),
    ]
    write_text(staging / "index.html", page(f"{model} v{version}", body))
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


def list_pages(addresses: Iterable[str]) -> str:
    """Links to report pages, with a sentence each."""
    entries = []
    for address in addresses:
        title, sentence = SENTENCES[Path(address).name]
        entries.append(f'<li><a href="{html.escape(address)}">{html.escape(title)}</a>: {html.escape(sentence)}</li>')
    return f"<h2>Reports</h2><ul>{''.join(entries)}</ul>" if entries else ""


def write_red(site: Path, model: str, run: str, *, error: str, reports: Path) -> str:
    """What a failed run left to read; returns its path within the site."""
    staging = _staging(site / model / "red" / run)
    if reports.is_dir():
        shutil.copytree(reports, staging / "reports")
    pages = sorted(path.relative_to(staging).as_posix() for path in staging.glob("reports/**/index.html"))
    entries = "".join(f'<li><a href="{html.escape(page)}">{html.escape(page)}</a></li>' for page in pages)
    body = ['<nav><a href="../../../index.html">all models</a></nav>', "<h1>Stopped</h1>", f"<pre>{html.escape(error)}</pre>"]
    write_text(staging / "index.html", page(f"{model}: stopped", [*body, f"<ul>{entries}</ul>"]))
    _publish(staging, site / model / "red" / run)
    return f"{model}/red/{run}/index.html"


def _write_pages(folder: Path, pages: Mapping[str, str]) -> None:
    for name, content in pages.items():
        if name != SUMMARY:
            write_text(folder / name, content)


def _markdown(text: str) -> str:
    from markdown_it import MarkdownIt

    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return rendered.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")


def _links(links: Mapping[str, str]) -> str:
    return "".join(f'<a href="{html.escape(address)}">{html.escape(title)}</a>' for title, address in links.items())


def page(title: str, body: Iterable[str]) -> str:
    """A whole page of our own style, dark or light as the reader's system is; `body` is HTML."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


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
