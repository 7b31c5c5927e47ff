"""`python -m studies.tables --data FOLDER`: the three real tables, each in a clone of its own on this stack, and what came
out as Markdown.

Every clone takes the steps that a team would take with a table of its own: load, copy params.yaml, deploy, retrain. Then
the same table is split under three other salts, fixed in advance, since one split may be a lucky one.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from flows.execution.workspace import git
from infra.stack import deployments, local
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.registry import ledger
from studies import compare_default

SALTS = 3
SHOWN = "lightgbm"  # of all candidates the one that is compared with itself as it comes


@dataclass(frozen=True)
class Table:
    """A real table: the folder below sql/, its file, and the table that the SQL reads."""

    dataset: str
    file: str
    table: str


TABLES = (
    Table("telco", "telco_churn/Telco-Customer-Churn.csv", "telco.customers"),
    Table("hotel_bookings", "hotel_bookings/hotel_bookings.csv.gz", "hotel.bookings"),
    Table("online_retail", "online_retail/online_retail.parquet", "retail.invoice_lines"),
)


def run(settings: Settings, data: Path, folder: Path, out: Path, picture: Path, say: Callable[[str], None]) -> None:
    """Run all three; write the figures to `out` and the gains to `picture`.

    Raises:
        EvergreenError: `folder` is there already, a file is missing, or a command in a clone failed.
    """
    if missing := [str(data / table.file) for table in TABLES if not (data / table.file).exists()]:
        raise EvergreenError(f"{', '.join(missing)} missing: name the folder that holds the tables by --data.")
    if folder.exists():
        raise EvergreenError(f"{folder} is there already: remove it, or name another folder by --folder.")
    local.up(settings, say)
    try:
        found = [_compare_table(settings, table, data.resolve(), folder.resolve() / table.dataset, say) for table in TABLES]
    finally:  # the stages' deployments belong to whoever deployed last
        deployments.deploy(settings, params.read(settings.folder / "params.yaml").model, say)
    comparisons = [one for several in found for one in several]
    stage.write_text(out, page(comparisons))
    draw(comparisons, picture)
    say(f"\nThe figures are in {out} and {picture}, the clones in {folder}.")


def page(comparisons: list[compare_default.Comparison]) -> str:
    """All comparisons on one page: a line for each split, then each model on the split of params.yaml."""
    about = "Written by `python -m studies.tables`; docs/studies/real-tables.md says what they mean."
    lines = ["# Figures of the real tables", "", about, ""]
    lines += [f"| table | salt | judged | {compare_default.DEFAULT} | {SHOWN} | its gain | challenger | its gain |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for comparison in comparisons:
        figures, chosen = comparison.figures, comparison.challenger
        challenger = f"{chosen}, {figures[chosen]}" if chosen != SHOWN else SHOWN
        default, ours = figures[compare_default.DEFAULT], figures.get(SHOWN, "")
        cells = [
            comparison.model,
            comparison.salt,
            comparison.counts,
            default,
            ours,
            comparison.gains.get(SHOWN, ""),
            challenger,
            comparison.gains[chosen],
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    seen: set[str] = set()
    for comparison in comparisons:
        if comparison.model not in seen:
            seen.add(comparison.model)
            lines += [
                "",
                f"## {comparison.model}, salt {comparison.salt}",
                "",
                f"{comparison.counts}.",
                "",
                comparison.markdown(),
            ]
    return "\n".join(lines) + "\n"


def draw(comparisons: list[compare_default.Comparison], picture: Path) -> None:
    """The gain of `SHOWN` over itself as it comes, one line a split, with its interval."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = [comparison for comparison in reversed(comparisons) if SHOWN in comparison.gains]
    figure, axes = pyplot.subplots(figsize=(7.5, 0.8 + 0.28 * len(shown)), layout="constrained")
    colours = {table.dataset: f"C{number}" for number, table in enumerate(TABLES)}
    for height, one in enumerate(shown):
        gain, colour = one.gains[SHOWN], colours.get(one.model, "black")
        axes.plot([gain.low, gain.high], [height, height], color=colour, linewidth=2)
        axes.plot(gain.point, height, "o", color=colour)
    axes.axvline(0, color="grey", linewidth=1)
    axes.set_yticks(range(len(shown)), [f"{one.model}, {one.salt}" for one in shown])
    axes.set_xlabel(f"{comparisons[0].metric}: {SHOWN} minus {compare_default.DEFAULT}, same rows, out of fold")
    picture.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(picture, dpi=120, metadata={"Software": None})
    pyplot.close(figure)


def _compare_table(
    settings: Settings, table: Table, data: Path, clone: Path, say: Callable[[str], None]
) -> list[compare_default.Comparison]:
    say(f"\n== {table.dataset}, in {clone} ==")
    git(settings.folder, "clone", "--quiet", str(settings.folder), str(clone))
    (clone / ".env").write_text("".join(f"{name}='{value}'\n" for name, value in settings.environment().items()))
    shutil.copyfile(clone / "sql" / table.dataset / "params.yaml", clone / "params.yaml")
    git(clone, "commit", "--quiet", "--all", "--no-verify", "--message", f"Params of {table.dataset}")
    _run(clone, "cli.app", "data", "load", str(data / table.file), "--table", table.table, "--replace")
    _run(clone, "cli.app", "deploy")
    _run(clone, "prefect", "deployment", "run", f"retrain/{table.dataset}", "--watch")
    newest = ledger.versions(settings.promoter_url, table.dataset)[0]
    _run(clone, "cli.app", "model", "checkout", f"v{newest.version}", "--force")
    found = [compare_default.compare(clone)]
    say(found[0].markdown())
    for number in range(SALTS):
        _set_salt(clone / "params.yaml", f"{table.dataset}-{number}")
        _run(clone, "dvc", "repro", "--quiet", "evaluate")
        found.append(compare_default.compare(clone))
        say(f"{found[-1].salt}: {SHOWN} over {compare_default.DEFAULT} {found[-1].gains.get(SHOWN)}")
    return found


def _set_salt(file: Path, salt: str) -> None:
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    stage.write_text(file, "".join(f"  salt: {salt}\n" if line.startswith("  salt:") else line for line in lines))


def _run(clone: Path, module: str, *arguments: str) -> None:
    """A module's command in the clone, by this environment's Python and the clone's code and settings."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=clone, env=os.environ | {"PATH": path}, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise EvergreenError(f"`{module} {' '.join(arguments)}` ended with {done.returncode} in {clone}: see above.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with telco_churn, hotel_bookings and online_retail")
    parser.add_argument("--folder", type=Path, default=Path(".evergreen/tables"), help="where the clones go; must not exist")
    parser.add_argument("--out", type=Path, default=Path("docs/studies/real-tables-figures.md"), help="where the figures go")
    parser.add_argument("--picture", type=Path, default=Path("docs/pictures/real-gains.png"), help="where the gains are drawn")
    given = parser.parse_args()
    try:
        run(load_settings(), given.data, given.folder, given.out, given.picture, print)
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
