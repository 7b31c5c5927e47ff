"""`python -m studies.selftest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.app import main

commands = typer.Typer(
    help="What the gates must stop and let through.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@commands.command()
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


if __name__ == "__main__":
    main(commands)
