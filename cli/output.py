"""What a command reads as JSON, for other programs: `--json`."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="print JSON, for other programs")]


def write(value: Any) -> None:
    """Rows, mappings and dataclasses; moments in ISO 8601, NaN as null. A field that is hidden in print is left out."""
    typer.echo(json.dumps(_plain(value), indent=1, ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        hidden = {field.name for field in value.__dataclass_fields__.values() if not field.repr}
        return {name: _plain(content) for name, content in asdict(value).items() if name not in hidden}
    if isinstance(value, dict):
        return {str(name): _plain(content) for name, content in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(content) for content in value]
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value != value:
        return None
    return str(value) if isinstance(value, Path) else value
