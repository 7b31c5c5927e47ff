"""`evergreen run`: run a deployment of this clone, and wait for its end."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.config.settings import load as load_settings

commands = typer.Typer(
    help="Run a deployment of this clone, and wait for its end.", no_args_is_help=True, rich_markup_mode=None
)
AS_OF = Annotated[str | None, typer.Option(help="YYYY-MM-DD; by default the newest that the source has complete")]


@commands.command()
def retrain(
    as_of: AS_OF = None,
    use_uncommitted: Annotated[bool, typer.Option(help="train by the files as they lie here")] = False,
) -> None:
    """Retrain on a worker: pin, stages, publish, gate; a line a step, then the verdict. Exit with 1 when it fails."""
    _run("retrain", as_of=as_of, use_uncommitted=use_uncommitted or None)


@commands.command()
def score(
    as_of: AS_OF = None,
    force: Annotated[bool, typer.Option(help="score once more although there are scores of that day")] = False,
) -> None:
    """Score everyone by the champion on a worker; exit with 1 when it fails."""
    _run("score", as_of=as_of, force=force or None)


@commands.command()
def monitor(
    window: Annotated[
        str | None, typer.Option(help="such as 2025-03; by default all that ended since the newest verdict")
    ] = None,
    force: Annotated[bool, typer.Option(help="score the window once more, and judge it anew")] = False,
) -> None:
    """Judge the windows that have ended, on a worker; exit with 1 when it fails."""
    _run("monitor", window=window, force=force or None)


def _run(flow: str, **parameters: Any) -> None:
    from cli.model_commands import model_here
    from flows import follow
    from pipelines.config import params
    from pipelines.data import extract

    if parameters.get("as_of") not in {None, params.TIMELESS}:
        extract.day(parameters["as_of"])  # a slip is told before a worker is waited for
    ended = follow.run(load_settings(), f"{flow}/{model_here()}", parameters, typer.echo)
    typer.echo(ended.text())
    if not ended.is_completed:
        raise typer.Exit(1)
