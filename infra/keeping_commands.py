"""`evergreen`'s commands about what is kept: collecting, erasing, backing up. They register on the CLI's own app."""

from __future__ import annotations

import getpass
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from pipelines import settings

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
def gc(
    delete: Annotated[bool, typer.Option("--delete", help="take it away; without this it is only shown")] = False,
    clone: Annotated[
        list[Path] | None, typer.Option(help="another clone that shares cache and remote; may be repeated")
    ] = None,
) -> None:
    """Show what no version that is needed depends on any more, and take it away when asked to (section gc of params.yaml)."""
    from infra import collection

    collection.collect(settings.load(), delete=delete, clones=clone or [], say=typer.echo)


@commands.command()
def forget(entity: Annotated[str, typer.Argument(help="who, as the source's key has it")]) -> None:
    """Erase a person from scores, outcomes, logs and cached rows, and name the versions that cannot be rebuilt any more."""
    from flows import forgetting
    from pipelines import params

    here, config = settings.load(), params.read()
    found = forgetting.forget(here, config.model, config.data, entity, actor=getpass.getuser())
    places = Counter(file.partition(" ")[0] if file.startswith(("cache ", "remote ")) else "clone" for file in found.files)
    listed = "".join(f", {count} in the {place}" for place, count in places.items())
    typer.echo(f"Erased of {config.data.entity} {entity}:")
    typer.echo(f"  {found.predictions:,} predictions, {found.outcomes:,} outcomes, {found.logged:,} lines of the API's log")
    typer.echo(f"  {len(found.files)} tables with a row of theirs{listed}")
    if found.lost:
        versions = ", ".join(f"v{number}" for number in found.lost)
        typer.echo(f"The rows of {versions} are gone: they cannot be checked out, and be rebuilt only while the source gives")
        typer.echo("the very rows that they were made from. They still score, and can be promoted.")
    typer.echo("Kept: versions and decisions, the models that learnt from the rows, and figures and samples without a key.")
    for file in found.kept:
        typer.echo(f"NOT erased, since it is not ours to delete: {file}")
    if found.in_source is not False:
        still = "still has them" if found.in_source else "could not be asked"
        typer.echo(f"The source {still}: erase them there as well, or the next retraining reads them again.")
    typer.echo("Backups that were made before still hold them, and so do caches of other machines.")


@commands.command()
def backup(path: Annotated[Path, typer.Argument(help="a new folder, or a file that ends with .tar, .tar.gz or .tgz")]) -> None:
    """Write ledger, MLflow, Prefect, artifacts, cache and git refs into a folder or file, while the stack runs."""
    from infra import backup as backing

    backing.backup(settings.load(), path, typer.echo)


@commands.command()
def restore(path: Annotated[Path, typer.Argument(help="what `evergreen backup` wrote")]) -> None:
    """Bring a backup into this clone's home, which must be empty; then `evergreen up` starts it."""
    from infra import backup as backing

    backing.restore(settings.load(), path, typer.echo)
