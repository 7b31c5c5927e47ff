"""How long two versions take for the same rows, in one process and in turns, so that a busy machine does not decide.

What is measured is the processor's time of the calling thread, which runs the whole graph: on a busy machine a thread is set
aside in the middle of a run, and the clock on the wall then tells of other people's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.onnx_model import Model

BATCH_ROWS = 1000
ROUNDS = 20
RUNS = {1: 20, BATCH_ROWS: 1}  # a round, by rows: a clock read costs as much as a row


@dataclass(frozen=True)
class Latency:
    """Microseconds of processor's time of one run of each version's graph, features being ready; the least of the rounds."""

    rows: int
    challenger: float
    champion: float


def measure(challenger: Model, champion: Model, rows: pa.Table) -> list[Latency]:
    """Of one row, and of a batch of up to 1,000.

    The least of the rounds is what the graphs themselves take; what is above it is cold caches (as in Python's timeit).

    Args:
        challenger, champion: loaded to run in one thread.
    """
    sizes = {1: rows.slice(0, 1), BATCH_ROWS: rows.slice(0, BATCH_ROWS)}
    return [_in_turns(challenger.ready(some), champion.ready(some), some.num_rows, RUNS[size]) for size, some in sizes.items()]


def _in_turns(challenger: Callable[[], object], champion: Callable[[], object], rows: int, runs: int) -> Latency:
    fastest = {challenger: float("inf"), champion: float("inf")}
    for turn in range(ROUNDS + 1):
        for run in (challenger, champion) if turn % 2 else (champion, challenger):
            began = time.thread_time()
            for _ in range(runs):
                run()
            if turn:  # the first round warms up
                fastest[run] = min(fastest[run], (time.thread_time() - began) / runs * 1e6)
    return Latency(rows, fastest[challenger], fastest[champion])
