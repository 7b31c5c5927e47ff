"""Stage extract: the pinned rows, streamed from Postgres to Parquet in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.config import params, stage
from pipelines.config.settings import load as load_settings
from pipelines.data.extract import Queries, extract


def summary(account: dict[str, Any]) -> str:
    """What was left out, in one line."""
    reasons = ", ".join(f"{rows:,} ({reason})" for reason, rows in account["left_out"].items()) or "none"
    return f"{account['source']:,} rows in the source; left out: {reasons}; read: {account['read']:,}."


def main(*, queries: Path, rows: Path, manifest: Path, left_out: Path) -> None:
    """Extract the pinned rows of a dataset with their manifest, and count what was left out."""
    source, data = load_settings().source_url, params.read().data
    with stage.phase("read"):
        described, account = extract(source, Queries(queries), data, rows)
    stage.write_json(manifest, described)
    stage.write_json(left_out, account)
    if account:
        stage.say(summary(account))
    stage.say(f"{described['rows']:,} rows, {len(described['columns'])} columns, known as of {described['as_of']}.")


if __name__ == "__main__":
    stage.run(main)
