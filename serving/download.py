"""Bring a version's bundle from MLflow, in a process of its own: importing MLflow takes seconds and memory for good."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from pipelines.config.errors import EvergreenError
from pipelines.registry.ledger import Champion

PATIENCE_SECONDS = 120


def fetch(tracking_uri: str, champion: Champion, cache: Path) -> None:
    """The bundle into `cache`, exactly what the ledger says.

    Raises:
        EvergreenError: MLflow is out of reach, or its files are not what was published.
    """
    message = json.dumps({"tracking_uri": tracking_uri, "champion": asdict(champion), "cache": str(cache)}, default=str)
    command = [sys.executable, "-m", "serving.download"]
    try:
        done = subprocess.run(command, input=message, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise EvergreenError(f"MLflow did not hand out the bundle within {PATIENCE_SECONDS} s.") from None
    if done.returncode:
        raise EvergreenError(done.stderr.strip().rpartition("ERROR: ")[2][-1000:] or "Fetching the bundle failed.")


def main() -> None:
    from pipelines.registry import publish

    message = json.load(sys.stdin)
    created = datetime.fromisoformat(message["champion"]["created_at"])
    champion = Champion(**message["champion"] | {"created_at": created})
    try:
        publish.fetch(message["tracking_uri"], champion, Path(message["cache"]))
    except EvergreenError as error:
        sys.exit(f"ERROR: {error}")


if __name__ == "__main__":
    main()
