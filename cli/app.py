"""`evergreen`: a thin face over the functions of the rooms below. A command imports what it needs, when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cli import keeping_commands, ledger_commands, run_commands
from cli.check_sql.command import check_sql
from cli.init.command import init
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import load as load_settings

# plain help and errors: to decorate them, Typer would import Rich, which takes longer than all else together
app = typer.Typer(
    context_settings={"max_content_width": 140},  # the list shows each first sentence where the terminal is wide
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for more in (run_commands, ledger_commands, keeping_commands):
    app.add_typer(more.commands)  # without a name of its own: its commands stand beside those below
app.command()(init)
app.command(name="check-sql")(check_sql)
PARAMS = Path("params.yaml")


def main() -> None:
    """Run a command; what a person is meant to read ends it without a traceback."""
    try:
        app()
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"evergreen {version('evergreen')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it and end")] = False,
) -> None:
    """Keeps a tabular classifier fresh."""


@app.command()
def up() -> None:
    """Start Postgres, MLflow, Prefect, the workers, the API and the report site; return when they answer."""
    from flows.execution import workspace
    from infra.stack import local

    settings = load_settings()
    local.up(settings, typer.echo)
    workspace.configure_dvc(settings.folder, settings)


@app.command()
def down() -> None:
    """Stop what `up` started; data stays."""
    from infra.stack import local

    local.down(load_settings(), typer.echo)


@app.command()
def status() -> None:
    """What runs, and where."""
    from infra.stack import local

    for row in local.status(load_settings()):
        typer.echo(f"{row.program:<9} {row.state:<9} {row.address}" + (f", pid {row.pid}, log {row.log}" if row.pid else ""))


@app.command()
def doctor() -> None:
    """Look for what is wrong, and say what to do; exit with 1 when something is."""
    from infra.doctor import diagnose

    findings = diagnose(load_settings())
    for finding in findings:
        typer.echo(f"{finding.what}\n  where: {finding.where}\n  next:  {finding.next}")
    if findings:
        raise typer.Exit(1)
    typer.echo("Nothing is wrong.")


@app.command()
def deploy(
    take_over: Annotated[bool, typer.Option("--take-over", help="deployments of another clone become this one's")] = False,
) -> None:
    """Put this clone's flows up as Prefect deployments, at its current commit."""
    from infra.stack import deployments
    from pipelines.config import params

    deployments.deploy(load_settings(), params.read().model, typer.echo, take_over=take_over)


@app.command()
def pin(
    as_of: Annotated[str | None, typer.Option(help="YYYY-MM-DD; by default the newest date the source has complete")] = None,
) -> None:
    """Choose what is trained on: write data.as_of and data.fingerprint into params.yaml."""
    from cli import summary
    from pipelines.config import params
    from pipelines.data import extract

    config, settings = params.read(), load_settings()
    data = config.data
    queries = extract.Queries(Path("sql") / data.dataset)
    found = extract.pin(settings.source_url, queries, data, as_of, evaluate=config.evaluate)
    params.write_pin(PARAMS, found.as_of, found.fingerprint)
    typer.echo(f"Pinned {found.as_of}, fingerprint {found.fingerprint}.")
    share = found.positives / found.rows
    typer.echo(f"`dvc repro` will read {found.rows:,} rows, {found.positives:,} of them positive ({share:.1%}).")
    typer.echo(summary.minimum_detectable(settings, found, config))


@app.command()
def publish() -> None:
    """Publish what `dvc repro` made in this clone, and let the gate decide."""
    from flows import manual

    version, verdict = manual.publish(load_settings(), typer.echo)
    typer.echo(f"{version.model} {version}: {verdict.outcome}. {verdict.headline}")


@app.command()
def checkout(
    version: Annotated[str, typer.Argument(help="number of a published version, such as 3 or v3")],
    force: Annotated[bool, typer.Option(help="overwrite changes to params.yaml")] = False,
) -> None:
    """Bring a version's params.yaml, dvc.lock and results into this clone."""
    from flows import manual

    typer.echo("Bringing its files in from the cache, or from the remote.")
    stale = manual.checkout(load_settings(), ledger_commands.number_of(version), force=force)
    next_step = (
        f"`dvc repro` would run {', '.join(stale)}: code or SQL differ here" if stale else "`dvc repro` has nothing to do"
    )
    typer.echo(f"This clone now holds v{ledger_commands.number_of(version)}: {next_step}.")


@app.command()
def selftest(
    gates: Annotated[list[str] | None, typer.Argument(help="such as promotion; by default all")] = None,
    size: Annotated[int, typer.Option(min=10, help="how often a question is put whose answer is a share")] = 200,
    data: Annotated[Path, typer.Option(help="folder with the real tables, for `validation`")] = Path("../shared/data"),
    out: Annotated[Path | None, typer.Option(help="where the figures of `validation` go, as Markdown and a picture")] = None,
) -> None:
    """Show the gates what they must stop and what they must let through; exit with 1 when one does otherwise."""
    from pipelines.config import params
    from studies import selftest

    if not selftest.run(gates or [], params.read(), typer.echo, size=size, data=data, out=out):
        raise typer.Exit(1)


@app.command()
def expectations(
    force: Annotated[bool, typer.Option(help="write them over sql/<dataset>/expectations.yaml")] = False,
) -> None:
    """Propose expectations from the rows that `dvc repro` has extracted here; print them, or write them with --force."""
    from cli.init import expectations as proposals
    from pipelines.config import params, stage

    config = params.read()
    text = proposals.of_extracted(Path("data/rows.parquet"), config)
    if not force:
        typer.echo(text)
        return
    file = Path("sql") / config.data.dataset / "expectations.yaml"
    stage.write_text(file, text)
    typer.echo(f"{file} is written: `git diff {file}` shows what changed.")


@app.command(name="compare-default")
def compare_default() -> None:
    """Compare this clone's candidates with LightGBM as it comes, on the same rows, after `dvc repro`."""
    from cli import compare_default

    typer.echo("LightGBM is trained as it comes, on the rows that the candidates were trained on: a minute or more.")
    found = compare_default.compare(Path())
    typer.echo(f"{found.model}, salt {found.salt}, {found.counts}:\n\n{found.markdown()}")


@app.command()
def tables(
    data: Annotated[Path, typer.Option(help="folder with telco_churn, hotel_bookings and online_retail")],
    folder: Annotated[Path, typer.Option(help="where the clones go; must not exist")] = Path(".evergreen/tables"),
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("docs/studies/real-tables-figures.md"),
    picture: Annotated[Path, typer.Option(help="where the picture of the gains goes")] = Path("docs/pictures/real-gains.png"),
) -> None:
    """Load, retrain and compare the three real tables in clones of their own on this stack; write the figures."""
    from studies import tables

    tables.run(load_settings(), data, folder, out, picture, typer.echo)


@app.command()
def scores(
    out: Annotated[Path, typer.Option(help="a file to write, .csv or .parquet")],
    force: Annotated[bool, typer.Option(help="overwrite the file")] = False,
) -> None:
    """Write the champion's newest scores to a file, the highest first."""
    from pipelines.config import params
    from pipelines.scoring import predictions

    rows = predictions.export(load_settings().watcher_url, params.read().model, out, force=force)
    typer.echo(f"{out} holds {rows:,} scores.")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet")],
    table: Annotated[str, typer.Option(help="schema.table; a new one")],
    replace: Annotated[bool, typer.Option("--replace", help="in place of a table that an earlier load made")] = False,
    encoding: Annotated[str | None, typer.Option(help="of a CSV, such as cp1252 or shift_jis; found out by default")] = None,
    delimiter: Annotated[str | None, typer.Option(help="of a CSV: one character, or tab; found out by default")] = None,
    types: Annotated[list[str] | None, typer.Option(help="COLUMN=TYPE, such as zip=text; may be repeated")] = None,
) -> None:
    """Bring a file into the source database; what is stored prints back as it was read, or a sentence says so."""
    from cli.load import load_file

    options = load_file.Options(encoding, delimiter, load_file.named_types(types or []))
    rows = load_file.load(load_settings().load_url, file, table, typer.echo, options, replace=replace)
    typer.echo(f"{table} holds {rows:,} rows.")


@app.command()
def simulate(
    customers: Annotated[int, typer.Option(min=100, max=2_000_000)] = 20_000,
    months: Annotated[int, typer.Option(min=1, max=24)] = 24,
    seed: int = 7,
    without: Annotated[list[str] | None, typer.Option(help="a planted shift to leave out; may be repeated")] = None,
) -> None:
    """Load the simulated telecom company into the source database."""
    from examples.telecom import load as demo

    unknown = sorted(set(without or []) - demo.ALL_SHIFTS)
    if unknown:
        raise EvergreenError(f"--without {', '.join(unknown)}: no such shift. Known: {', '.join(sorted(demo.ALL_SHIFTS))}.")
    shifts = demo.ALL_SHIFTS - set(without or [])
    demo.load_demo(load_settings().load_url, customers=customers, months=months, seed=seed, shifts=shifts, say=typer.echo)


@app.command()
def oracle(
    rows: Annotated[Path, typer.Option(help="Parquet with customer_id, snapshot_date and churned")] = Path(
        "data/training.parquet"
    ),
) -> None:
    """Print the best ROC-AUC that anybody could reach on rows of the simulated company: its own probabilities'."""
    from cli import summary

    typer.echo(summary.oracle(load_settings(), rows))


@app.command()
def demo(
    customers: Annotated[int, typer.Option(min=1000, max=2_000_000)] = 20_000,
    as_of: Annotated[str, typer.Option(help="the date to train as of")] = "2024-12-31",
) -> None:
    """From nothing to a champion: stack, data, deployments, first retraining, results in this clone, summary."""
    from examples.telecom import walkthrough

    walkthrough.run(load_settings(), customers=customers, as_of=as_of, say=typer.echo)


@app.command()
def story(
    start: Annotated[str, typer.Option(help="first day, YYYY-MM-DD")] = "2025-01-01",
    end: Annotated[str, typer.Option(help="last day; windows that have not ended by then are left out")] = "2025-12-31",
) -> None:
    """After the demo: the year that follows, scored and judged window by window, with the retraining that it leads to."""
    from examples.telecom import walkthrough

    walkthrough.story(load_settings(), start=start, end=end, say=typer.echo)


@app.command()
def windows() -> None:
    """What was decided of each window, and why."""
    from cli import summary
    from pipelines.config import params

    typer.echo(summary.windows(load_settings(), params.read().model))


@app.command()
def report(window: Annotated[str, typer.Argument(help="a window that was judged, such as 2025-03")]) -> None:
    """Render the reports of any window; those that need attention, and the newest, have theirs already."""
    from flows import reports, watching

    settings = load_settings()
    typer.echo(f"Reading window {window}, the version that scored it, and a sample of its rows.")
    with watching.watching(settings, typer.echo) as watch:
        page = reports.on_demand(settings, watch, window)
    typer.echo(f"{settings.site_url}/{page}")


key = typer.Typer(help="Keys of the API.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(key, name="key")


@key.command()
def create(
    name: Annotated[str, typer.Option(help="who it is for")],
    scope: Annotated[list[str] | None, typer.Option(help="predict or admin; may be repeated")] = None,
) -> None:
    """Make a key and print it: it is shown once and kept nowhere. A server knows it within seconds."""
    from serving import keys

    typer.echo(keys.create(load_settings().evergreen_url, name, scope or ["predict"]))


@key.command(name="list")
def list_keys() -> None:
    """Every key by its id, with what it may do."""
    from serving import keys

    for one in keys.listed(load_settings().evergreen_url):
        ended = f"revoked {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "valid"
        typer.echo(f"{one.key_id}  {','.join(one.scopes):<14} made {one.created_at:%Y-%m-%d %H:%M}  {ended:<24} {one.name}")


@key.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the id that `evergreen key list` shows")]) -> None:
    """End a key: servers refuse it within seconds."""
    from serving import keys

    one = keys.revoke(load_settings().evergreen_url, key_id)
    typer.echo(f"{one.key_id} ({one.name}) is revoked.")


@key.command()
def show() -> None:
    """Print the key that the local stack made for itself."""
    from infra.stack import api_key

    typer.echo(api_key.show(load_settings()))


@app.command(name="open")
def open_site() -> None:
    """Open the report site, which begins with what needs attention."""
    import webbrowser

    address = load_settings().site_url
    if not webbrowser.open(address):
        typer.echo(f"No browser was found. The reports are at {address}")


@app.command()
def bench(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("bench.json"),
    rows: Annotated[int, typer.Option(min=10_000, help="rows of the extraction")] = 2_000_000,
) -> None:
    """Measure the speed claims as ratios against a limit of the same run, on a stack of its own that is gone afterwards;
    exit with 1 when one is missed."""
    import bench

    if not bench.run(load_settings(), out, rows=rows, say=typer.echo):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
