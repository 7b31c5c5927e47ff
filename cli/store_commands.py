"""`evergreen store`: backups, retention and erasure."""

from __future__ import annotations

import getpass
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import Json, write
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import load as load_settings

if TYPE_CHECKING:
    from flows.erasure import Forgotten

commands = typer.Typer(help="Backups, retention and erasure.", no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="take it away; without this it is only shown")] = False,
    clone: Annotated[
        list[Path] | None, typer.Option(help="another clone that shares cache and remote; may be repeated")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what no version that is needed depends on any more, and take it away when asked to (section gc of params.yaml)."""
    from cli import collection

    say = (lambda _: None) if as_json else typer.echo
    garbage = collection.collect(load_settings(), delete=delete, clones=clone or [], say=say)
    if as_json:
        write([{"kind": item.kind, "what": item.what, "bytes": item.size, "deleted": delete} for item in garbage])


@commands.command()
def erase(
    entity: Annotated[str, typer.Argument(help="who, as the source's key has it")],
    yes: Annotated[bool, typer.Option("--yes", help="do not ask: it cannot be undone")] = False,
) -> None:
    """Erase a person from scores, outcomes, logs and cached rows, and name the versions that cannot be rebuilt any more.

    It shows first what would go, and asks.
    """
    from flows import erasure
    from pipelines.config import params

    settings, config = load_settings(), params.read()
    who = f"{config.data.entity} {entity}"
    if not yes:
        coming = erasure.preview(settings, config.model, config.data, entity)
        typer.echo(f"This would be erased of {who}, and nothing brings it back:")
        _show(coming)
        _confirm(f"Erase {who}?")
    erased = erasure.forget(settings, config.model, config.data, entity, actor=getpass.getuser())
    typer.echo(f"Erased of {who}:")
    _show(erased)
    typer.echo("Kept: versions and decisions, the models that learnt from the rows, and figures and samples without a key.")
    if erased.in_source is not False:
        still = "still has them" if erased.in_source else "could not be asked"
        typer.echo(f"The source {still}: erase them there as well, or the next retraining reads them again.")
    typer.echo("Backups that were made before still hold them, and so do caches of other machines.")


def _show(erased: Forgotten) -> None:
    """What goes, and what that costs."""
    places = Counter(file.partition(" ")[0] if file.startswith(("cache ", "remote ")) else "clone" for file in erased.files)
    listed = "".join(f", {count} in the {place}" for place, count in places.items())
    typer.echo(f"  {erased.predictions:,} predictions, {erased.outcomes:,} outcomes, {erased.logged:,} lines of the API's log")
    typer.echo(f"  {len(erased.files)} tables with a row of theirs{listed}")
    if erased.lost:
        versions = ", ".join(f"v{number}" for number in erased.lost)
        typer.echo(f"  the rows of {versions}: they cannot be checked out, and be rebuilt only while the source gives the very")
        typer.echo("  rows that they were made from; they still score, and can be promoted")
    for file in erased.kept:
        typer.echo(f"NOT erased, since it is not ours to delete: {file}")


def _confirm(question: str) -> None:
    """Ask the person at the terminal.

    Raises:
        EvergreenError: nobody is there to ask, or the answer is no.
    """
    if not _is_asked():
        raise EvergreenError("Nothing was erased: nobody is at a terminal to be asked. Pass --yes to do it all the same.")
    try:
        agreed = typer.confirm(question)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise EvergreenError("Nothing was erased.")


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty()


@commands.command()
def backup(
    place: Annotated[
        str, typer.Argument(help="a new folder, or a file that ends with .tar, .tar.gz or .tgz; s3://BUCKET/NAME.tar as well")
    ],
) -> None:
    """Write ledger, MLflow, Prefect, artifacts, cache and git refs into a folder or file, while the stack runs."""
    from infra.backup import command as backing

    backing.backup(load_settings(), place, typer.echo)


@commands.command()
def restore(place: Annotated[str, typer.Argument(help="what `evergreen store backup` wrote")]) -> None:
    """Bring a backup into this clone's home, which must be empty; then `evergreen up` starts it."""
    from infra.backup import command as backing

    backing.restore(load_settings(), place, typer.echo)
