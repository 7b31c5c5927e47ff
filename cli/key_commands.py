"""`evergreen key`: keys of the API."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.output import Json, write
from pipelines.config.settings import load as load_settings

commands = typer.Typer(help="Keys of the API.", no_args_is_help=True, rich_markup_mode=None)


@commands.command()
def create(
    name: Annotated[str, typer.Option(help="who it is for")],
    scope: Annotated[list[str] | None, typer.Option(help="predict or admin; may be repeated")] = None,
) -> None:
    """Make a key and print it: it is shown once and kept nowhere. A server knows it within seconds."""
    from serving import keys

    typer.echo(keys.create(load_settings().evergreen_url, name, scope or ["predict"]))


@commands.command(name="list")
def list_keys(as_json: Json = False) -> None:
    """Every key by its id, with what it may do."""
    from serving import keys

    rows = keys.listed(load_settings().evergreen_url)
    if as_json:
        write(rows)
        return
    for row in rows:
        ended = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else "valid"
        typer.echo(f"{row.key_id}  {','.join(row.scopes):<14} made {row.created_at:%Y-%m-%d %H:%M}  {ended:<24} {row.name}")


@commands.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the id that `evergreen key list` shows")]) -> None:
    """End a key: servers refuse it within seconds."""
    from serving import keys

    row = keys.revoke(load_settings().evergreen_url, key_id)
    typer.echo(f"{row.key_id} ({row.name}) is revoked.")


@commands.command()
def show() -> None:
    """Print the key that the local stack made for itself."""
    from infra.stack import api_key

    typer.echo(api_key.show(load_settings()))
