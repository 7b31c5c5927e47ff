"""`evergreen data`: bring a table in, prove its query, and choose what is trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.check_sql.command import check_sql
from pipelines.config.settings import load as load_settings

commands = typer.Typer(help="Tables, queries, expectations and the pin.", no_args_is_help=True, rich_markup_mode=None)
PARAMS = Path("params.yaml")


@commands.command()
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


commands.command(name="check-sql")(check_sql)


@commands.command()
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


@commands.command()
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
    chosen = extract.pin(settings.source_url, queries, data, as_of, evaluate=config.evaluate)
    params.write_pin(PARAMS, chosen.as_of, chosen.fingerprint)
    typer.echo(f"Pinned {chosen.as_of}, fingerprint {chosen.fingerprint}.")
    share = chosen.positives / chosen.rows
    typer.echo(f"`dvc repro` will read {chosen.rows:,} rows, {chosen.positives:,} of them positive ({share:.1%}).")
    typer.echo(summary.minimum_detectable(settings, chosen, config))
