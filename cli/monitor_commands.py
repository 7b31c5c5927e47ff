"""`evergreen monitor`: verdicts on windows, their reports, and the newest scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.output import Json, write
from pipelines.config.settings import load as load_settings

commands = typer.Typer(
    help="Verdicts on windows, their reports, and the newest scores.", no_args_is_help=True, rich_markup_mode=None
)


@commands.command()
def windows(as_json: Json = False) -> None:
    """What was decided of each window, and why."""
    from cli import summary
    from pipelines.config import params

    model = params.read().model
    rows = summary.windows(load_settings(), model)
    if as_json:
        write(rows)
    else:
        typer.echo(summary.window_lines(rows, model))


@commands.command()
def report(window: Annotated[str, typer.Argument(help="a window that was judged, such as 2025-03")]) -> None:
    """Render the reports of any window; those that need attention, and the newest, have theirs already."""
    from flows import reports, watching

    settings = load_settings()
    typer.echo(f"Reading window {window}, the version that scored it, and a sample of its rows.")
    with watching.watching(settings, typer.echo) as watch:
        page = reports.on_demand(settings, watch, window)
    typer.echo(f"{settings.site_url}/{page}")


@commands.command()
def scores(
    out: Annotated[Path, typer.Option(help="a file to write, .csv or .parquet")],
    force: Annotated[bool, typer.Option(help="overwrite the file")] = False,
) -> None:
    """Write the champion's newest scores to a file, the highest first."""
    from pipelines.config import params
    from pipelines.scoring import predictions

    rows = predictions.export(load_settings().watcher_url, params.read().model, out, force=force)
    typer.echo(f"{out} holds {rows:,} scores.")
