"""`evergreen key`: keys of the API."""

from __future__ import annotations

from typing import Annotated

import typer

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
def list_keys() -> None:
    """Every key by its id, with what it may do."""
    from serving import keys

    for one in keys.listed(load_settings().evergreen_url):
        ended = f"revoked {one.revoked_at:%Y-%m-%d %H:%M}" if one.revoked_at else "valid"
        typer.echo(f"{one.key_id}  {','.join(one.scopes):<14} made {one.created_at:%Y-%m-%d %H:%M}  {ended:<24} {one.name}")


@commands.command()
def revoke(key_id: Annotated[str, typer.Argument(help="the id that `evergreen key list` shows")]) -> None:
    """End a key: servers refuse it within seconds."""
    from serving import keys

    one = keys.revoke(load_settings().evergreen_url, key_id)
    typer.echo(f"{one.key_id} ({one.name}) is revoked.")


@commands.command()
def show() -> None:
    """Print the key that the local stack made for itself."""
    from infra.stack import api_key

    typer.echo(api_key.show(load_settings()))
