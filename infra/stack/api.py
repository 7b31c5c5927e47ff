"""The running API, as the walk-through and people look at it."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path

from infra.stack import pools
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import publish
from pipelines.registry.ledger import Version

PATIENCE_SECONDS = 30  # a promotion is served within 5 s


def wait_for(settings: Settings, version: int) -> None:
    """Return when the API serves a version.

    Raises:
        EvergreenError: it does not; with what it says.
    """
    until, answer_text = time.monotonic() + PATIENCE_SECONDS, "it does not answer"
    while time.monotonic() < until:
        answer = pools.ask("get", f"{settings.api_url}/ready")
        if answer is not None:
            answer_text = answer.text
            if answer.json()["version"] == version:
                return
        time.sleep(0.3)
    raise EvergreenError(f"The API at {settings.api_url} does not serve v{version}: {answer_text}. Run `evergreen doctor`.")


def curl(settings: Settings, version: Version) -> str:
    """A line for a shell in the clone that asks for the score of a row that nobody is. It does not hold the key."""
    from serving import columns
    from serving.version import columns_of, described

    folder = publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models").folder
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    row = columns.example(columns_of(schema, described(folder, version.manifest)), schema)
    program = Path(sys.executable).with_name("evergreen")
    command = program.relative_to(settings.folder) if program.is_relative_to(settings.folder) else program
    key = f'"Authorization: Bearer $({shlex.quote(str(command))} key show)"'
    kind = "'Content-Type: application/json'"
    return f"curl -s {settings.api_url}/predict -H {key} -H {kind} -d {shlex.quote(json.dumps(row))}"
