"""What the server counts, for Prometheus. Plain numbers on the fast path; they become metrics when somebody scrapes."""

from __future__ import annotations

import bisect
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from serving.watcher import State

BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5]  # seconds

UNSEEN = [
    ("unknown_category", "evergreen_unknown_values", "Values that the model does not know."),
    ("out_of_training_range", "evergreen_out_of_range_values", "Numbers outside what training saw."),
]


class Metrics:
    """Counts. unseen: kind and feature -> values that training never saw; refused: status and kind -> requests."""

    def __init__(self) -> None:
        self.requests = 0
        self.rows = 0
        self.unseen: Counter[tuple[str, str]] = Counter()
        self.refused: Counter[tuple[int, str]] = Counter()
        self.explained = 0
        self.log_failures = 0
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def answered(self, rows: int, seconds: float) -> None:
        self.requests += 1
        self.rows += rows
        self._seconds += seconds
        self._buckets[bisect.bisect_left(BOUNDS, seconds)] += 1

    def log_failed(self, error: BaseException) -> None:
        self.log_failures += 1
        print(f"The prediction log cannot be written: {error}. Free the disk.", file=sys.stderr, flush=True)

    def latency(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by upper bound, and the sum of all seconds, as a Prometheus histogram has them."""
        total, listed = 0, []
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self._buckets, strict=True):
            total += count
            listed.append((bound, float(total)))
        return listed, self._seconds


class Collector:
    """Turns counts into metrics. `state` gives what serves; `log` is the folder of the prediction log."""

    def __init__(self, metrics: Metrics, state: Callable[[], State], log: Path) -> None:
        self._metrics, self._state, self._log = metrics, state, log

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily

        counts = self._metrics
        buckets, seconds = counts.latency()
        yield HistogramMetricFamily("evergreen_predict_seconds", "Time to answer a request.", buckets, seconds)
        yield CounterMetricFamily("evergreen_predict_rows", "Rows answered.", counts.rows)
        yield CounterMetricFamily("evergreen_explained_rows", "Rows whose answer came with reasons.", counts.explained)
        yield CounterMetricFamily("evergreen_log_failures", "Writes to the prediction log that failed.", counts.log_failures)
        for kind, name, help_text in UNSEEN:
            unseen = CounterMetricFamily(name, help_text, labels=["feature"])
            for feature, count in [
                (feature, count) for (kind_seen, feature), count in counts.unseen.items() if kind_seen == kind
            ]:
                unseen.add_metric([feature], count)
            yield unseen
        refused = CounterMetricFamily("evergreen_refused_requests", "Requests refused.", labels=["status", "kind"])
        for (status, kind), count in counts.refused.items():
            refused.add_metric([str(status), kind], count)
        yield refused
        yield from self._gauges()

    def _gauges(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        state, log = self._state(), progress(self._log)
        version = GaugeMetricFamily("evergreen_version", "The version that serves.", labels=["model", "version"])
        if state.served:
            version.add_metric([state.served.champion.model, str(state.served.version)], 1)
        yield version
        yield GaugeMetricFamily("evergreen_stale", "Whether the ledger could not be followed for a while.", state.is_stale())
        age = "Seconds since the ledger was last followed."
        yield GaugeMetricFamily("evergreen_ledger_age_seconds", age, state.ledger_age())
        waiting = "Bytes of the prediction log that Postgres has not taken yet."
        yield GaugeMetricFamily("evergreen_log_waiting_bytes", waiting, log["waiting_bytes"])
        behind = time.time() - log["behind_since"] if log["behind_since"] else 0.0
        yield GaugeMetricFamily("evergreen_log_behind_seconds", "Seconds for which something has been waiting.", behind)
        yield GaugeMetricFamily("evergreen_log_unreadable_lines", "Broken lines of the log, left out.", log["unreadable"])


def progress(folder: Path) -> dict[str, Any]:
    """What the sender last said of the log."""
    from serving.sender import PROGRESS

    try:
        return json.loads((folder / PROGRESS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"waiting_bytes": 0, "behind_since": None, "unreadable": 0, "error": ""}


def exposition(collector: Collector) -> bytes:
    """The text that Prometheus scrapes, of the process as well."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
