"""What is known of a version: its row of the ledger, its verified bundle, and its params as git keeps them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from flows.execution import workspace
from monitoring.reference import SAMPLE
from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.promotion.gate import Bundle
from pipelines.registry import publish
from pipelines.registry.ledger import Version

ROUNDS, CALLS = 7, 200  # of latency: the median of medians, the two models in turn


@dataclass(frozen=True)
class Facts:
    """A version and its files."""

    version: Version
    bundle: Bundle
    clone: Path

    @classmethod
    def of(cls, settings: Settings, version: Version) -> Facts:
        """Those of a version; the bundle is exactly what the ledger says.

        Raises:
            EvergreenError: the bundle is neither whole here nor to be had from MLflow.
        """
        return cls(version, publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models"), settings.folder)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        return self._read("manifest.json")

    @property
    def data(self) -> dict[str, Any]:
        """What extract noted of the rows: as_of, rows, columns, fingerprint, digests."""
        return self.manifest["data"]

    @cached_property
    def schema(self) -> dict[str, Any]:
        return self._read("schema.json")

    @cached_property
    def evaluation(self) -> dict[str, Any]:
        return self._read("evaluation.json")

    @cached_property
    def params(self) -> dict[str, str] | None:
        """params.yaml, flat; None where the version was made in another clone, whose ref is not here."""
        from ruamel.yaml import YAML

        try:
            text = workspace.git(self.clone, "show", f"{self.version.git_commit}:params.yaml")
        except EvergreenError:
            return None
        return dict(flat(YAML(typ="safe").load(text)))

    @property
    def graph_bytes(self) -> int:
        return (self.bundle.folder / "model.onnx").stat().st_size

    def _read(self, name: str) -> dict[str, Any]:
        return json.loads((self.bundle.folder / name).read_text(encoding="utf-8"))


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value, as text, of nested mappings."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def latencies(all_of: Sequence[Facts]) -> list[float | None]:
    """Seconds that ONNX Runtime takes for one row on one thread, of each version in turn; None without a sample."""
    calls = [_one_row(facts) for facts in all_of]
    rounds: list[list[float]] = [[] for _ in calls]
    for _ in range(ROUNDS):
        for call, times in zip(calls, rounds, strict=True):
            if call:
                times.append(median(_timed(call) for _ in range(CALLS)))
    return [median(times) if times else None for times in rounds]


def _one_row(facts: Facts) -> Any:
    """A call that scores the first row of the version's sample."""
    import pyarrow.parquet as pq

    from pipelines.features import inputs

    if not (facts.bundle.folder / SAMPLE).exists():
        return None
    model = onnx_model.load(facts.bundle.folder, facts.bundle.digests)
    row = pq.read_table(facts.bundle.folder / SAMPLE).slice(0, 1)
    feeds = inputs(row, model.schema)
    return lambda: model.session.run(["probability"], feeds)


def _timed(call: Any) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
