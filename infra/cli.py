"""`evergreen`: a thin face over the functions of the rooms below. A command imports what it needs, when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipelines import settings
from pipelines.errors import EvergreenError

# plain help and errors: to decorate them, Typer would import Rich, which takes longer than all else together
app = typer.Typer(
    help="Keeps a tabular classifier fresh.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
PARAMS = Path("params.yaml")


def main() -> None:
    """Run a command; what a person is meant to read ends it without a traceback."""
    try:
        app()
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")


@app.command()
def up() -> None:
    """Start Postgres, MLflow, Prefect, the workers and the report site; return when they answer."""
    from flows import workspace
    from infra import stack

    here = settings.load()
    stack.up(here, typer.echo)
    workspace.configure_dvc(here.folder, here)


@app.command()
def down() -> None:
    """Stop what `up` started; data stays."""
    from infra import stack

    stack.down(settings.load(), typer.echo)


@app.command()
def status() -> None:
    """What runs, and where."""
    from infra import stack

    for row in stack.status(settings.load()):
        typer.echo(f"{row.program:<9} {row.state:<9} {row.address}" + (f", pid {row.pid}, log {row.log}" if row.pid else ""))


@app.command()
def doctor() -> None:
    """Look for what is wrong, and say what to do; exit with 1 when something is."""
    from infra.doctor import diagnose

    findings = diagnose(settings.load())
    for finding in findings:
        typer.echo(f"{finding.what}\n  where: {finding.where}\n  next:  {finding.next}")
    if findings:
        raise typer.Exit(1)
    typer.echo("Nothing is wrong.")


@app.command()
def deploy() -> None:
    """Put this clone's flows up as Prefect deployments, at its current commit."""
    from infra import deployments
    from pipelines import params

    deployments.deploy(settings.load(), params.read().model, typer.echo)


@app.command()
def pin(
    as_of: Annotated[str | None, typer.Option(help="YYYY-MM-DD; by default the newest date the source has complete")] = None,
) -> None:
    """Choose what is trained on: write data.as_of and data.fingerprint into params.yaml."""
    from pipelines import extract, params

    data = params.read().data
    found = extract.pin(settings.load().source_url, extract.Queries(Path("sql") / data.dataset), data, as_of)
    params.write_pin(PARAMS, found.as_of, found.fingerprint)
    typer.echo(f"Pinned {found.as_of}, fingerprint {found.fingerprint}.")
    share = found.positives / found.rows
    typer.echo(f"`dvc repro` will read {found.rows:,} rows, {found.positives:,} of them positive ({share:.1%}).")


@app.command()
def publish() -> None:
    """Publish what `dvc repro` made in this clone, and let the gate decide."""
    from flows import by_hand

    version, verdict = by_hand.publish(settings.load())
    typer.echo(f"{version.model} {version}: {verdict.outcome}. {verdict.headline}")


@app.command()
def checkout(
    version: Annotated[str, typer.Argument(help="number of a published version, such as 3 or v3")],
    force: Annotated[bool, typer.Option(help="overwrite changes to params.yaml")] = False,
) -> None:
    """Bring a version's params.yaml, dvc.lock and results into this clone."""
    from flows import by_hand

    stale = by_hand.checkout(settings.load(), _number(version), force=force)
    next_step = (
        f"`dvc repro` would run {', '.join(stale)}: code or SQL differ here" if stale else "`dvc repro` has nothing to do"
    )
    typer.echo(f"This clone now holds v{_number(version)}: {next_step}.")


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="number of a published version, such as 3 or v3")],
    reason: Annotated[str, typer.Option(help="stands in the ledger for good")],
) -> None:
    """Make a version champion by hand: past the gate, or back to an earlier one."""
    import getpass

    from flows import by_hand

    by_hand.promote(settings.load(), _number(version), actor=getpass.getuser(), reason=reason)
    typer.echo(f"v{_number(version)} is the champion now. `evergreen history` shows why.")


@app.command()
def history(rows: Annotated[int, typer.Option(help="how many, newest first")] = 20) -> None:
    """Decisions about the champion, newest first."""
    from pipelines import ledger, params

    decisions = ledger.history(settings.load().evergreen_url, params.read().model, rows)
    if not decisions:
        typer.echo("No decision yet: `prefect deployment run 'retrain/" + params.read().model + "' --watch`.")
    for row in decisions:
        typer.echo(f"{row.created_at:%Y-%m-%d %H:%M}  epoch {row.epoch}  v{row.to_version}  {row.decision}  {row.reason}")


@app.command()
def champion() -> None:
    """The version that serves."""
    from infra import summary
    from pipelines import params

    typer.echo(summary.champion(settings.load(), params.read().model))


@app.command(name="compare-default")
def compare_default() -> None:
    """Compare this clone's candidates with LightGBM as it comes, on the same rows, after `dvc repro`."""
    from infra import compare

    found = compare.compare(Path())
    typer.echo(f"{found.model}, salt {found.salt}, {found.counts}:\n\n{found.markdown()}")


@app.command()
def tables(
    data: Annotated[Path, typer.Option(help="folder with telco_churn, hotel_bookings and online_retail")],
    folder: Annotated[Path, typer.Option(help="where the clones go; must not exist")] = Path(".evergreen/tables"),
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("docs/real-tables-figures.md"),
    picture: Annotated[Path, typer.Option(help="where the picture of the gains goes")] = Path("docs/pictures/real-gains.png"),
) -> None:
    """Load, retrain and compare the three real tables in clones of their own on this stack; write the figures."""
    from infra import tables

    tables.run(settings.load(), data, folder, out, picture, typer.echo)


@app.command()
def scores(out: Annotated[Path, typer.Option(help="a file to write, .csv or .parquet")]) -> None:
    """Write the champion's newest scores to a file, the highest first."""
    from pipelines import params, predictions

    rows = predictions.export(settings.load().evergreen_url, params.read().model, out)
    typer.echo(f"{out} holds {rows:,} scores.")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet")],
    table: Annotated[str, typer.Option(help="schema.table; replaced if it is there")],
) -> None:
    """Bring a file into the source database, with sensible types."""
    from infra import load_file

    rows = load_file.load(settings.load().load_url, file, table)
    typer.echo(f"{table} holds {rows:,} rows.")


@app.command()
def simulate(
    customers: Annotated[int, typer.Option(min=100, max=2_000_000)] = 20_000,
    months: Annotated[int, typer.Option(min=1, max=24)] = 24,
    seed: int = 7,
    without: Annotated[list[str] | None, typer.Option(help="a planted shift to leave out; may be repeated")] = None,
) -> None:
    """Load the simulated telecom company into the source database."""
    from infra.demo import load as demo

    unknown = sorted(set(without or []) - demo.ALL_SHIFTS)
    if unknown:
        raise EvergreenError(f"--without {', '.join(unknown)}: no such shift. Known: {', '.join(sorted(demo.ALL_SHIFTS))}.")
    shifts = demo.ALL_SHIFTS - set(without or [])
    demo.load_demo(settings.load().load_url, customers=customers, months=months, seed=seed, shifts=shifts, say=typer.echo)


@app.command()
def oracle(
    rows: Annotated[Path, typer.Option(help="Parquet with customer_id, snapshot_date and churned")] = Path("data/test.parquet"),
) -> None:
    """Print the best ROC-AUC that anybody could reach on rows of the simulated company: its own probabilities'."""
    from infra import summary

    typer.echo(summary.oracle(settings.load(), rows))


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=1000, max=2_000_000)] = 20_000,
    as_of: Annotated[str, typer.Option(help="the date to train as of")] = "2024-12-31",
) -> None:
    """From nothing to a champion: stack, data, deployments, first retraining, results in this clone, summary."""
    from infra import walkthrough

    walkthrough.run(settings.load(), customers=customers, as_of=as_of, say=typer.echo)


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("bench.json"),
    rows: Annotated[int, typer.Option(min=10_000, help="rows of the extraction")] = 2_000_000,
) -> None:
    """Measure the speed claims as ratios against a limit of the same run, on a stack of its own that is gone afterwards;
    exit with 1 when one is missed."""
    from infra import bench

    if not bench.run(settings.load(), out, rows=rows, say=typer.echo):
        raise typer.Exit(1)


def _number(version: str) -> int:
    digits = version.removeprefix("v")
    if not digits.isdigit():
        raise EvergreenError(f"{version!r} is no version: give a number, such as 3 or v3. `evergreen history` lists them.")
    return int(digits)


if __name__ == "__main__":
    main()
