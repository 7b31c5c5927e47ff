"""`python -m bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.app import main
from pipelines.config.settings import load as load_settings

commands = typer.Typer(
    help="The speed claims, measured.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@commands.command()
def bench(
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("bench.json"),
    rows: Annotated[int, typer.Option(min=10_000, help="rows of the extraction")] = 2_000_000,
) -> None:
    """Measure the speed claims as ratios against a limit of the same run, on a stack of its own that is gone afterwards;
    exit with 1 when one is missed."""
    from bench import run

    if not run(load_settings(), out, rows=rows, say=typer.echo):
        raise typer.Exit(1)


if __name__ == "__main__":
    main(commands)
