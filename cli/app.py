"""`evergreen`: a thin face over the functions of the packages below. A command imports what it needs, when it runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli import data_commands, key_commands, model_commands, monitor_commands, run_commands, store_commands
from cli.init.command import init
from cli.output import Json, write
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
app.command()(init)
GROUPS = {
    "data": data_commands,
    "model": model_commands,
    "run": run_commands,
    "monitor": monitor_commands,
    "store": store_commands,
    "key": key_commands,
}
for name, group in GROUPS.items():
    app.add_typer(group.commands, name=name)


def main(commands: typer.Typer = app) -> None:
    """Run a command; what a person is meant to read ends it without a traceback."""
    try:
        commands()
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
def status(as_json: Json = False) -> None:
    """What runs, and where."""
    from infra.stack import local

    rows = local.status(load_settings())
    if as_json:
        write(list(rows))
        return
    for row in rows:
        typer.echo(f"{row.program:<9} {row.state:<9} {row.address}" + (f", pid {row.pid}, log {row.log}" if row.pid else ""))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Look for what is wrong, and say what to do; exit with 1 when something is."""
    from infra.doctor import diagnose

    findings = diagnose(load_settings())
    if as_json:
        write(findings)
    for finding in findings if not as_json else ():
        typer.echo(f"{finding.what}\n  where: {finding.where}\n  next:  {finding.next}")
    if findings:
        raise typer.Exit(1)
    if not as_json:
        typer.echo("Nothing is wrong.")


@app.command()
def deploy(
    take_over: Annotated[bool, typer.Option("--take-over", help="deployments of another clone become this one's")] = False,
) -> None:
    """Put this clone's flows up as Prefect deployments, at its current commit."""
    from infra.stack import deployments
    from pipelines.config import params

    deployments.deploy(load_settings(), params.read().model, typer.echo, take_over=take_over)


@app.command(name="open")
def open_site() -> None:
    """Open the report site, which begins with what needs attention."""
    import webbrowser

    address = load_settings().site_url
    if not webbrowser.open(address):
        typer.echo(f"No browser was found. The reports are at {address}")


if __name__ == "__main__":
    main()
