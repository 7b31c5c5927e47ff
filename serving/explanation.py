"""Reasons for one prediction: sampled Shapley values of the served graph, for any candidate.

`pipelines/training/shapley.py` samples them; the margin is the log odds of the graph's probability, and what a feature is
compared with are a few training rows in the bundle. It goes on in rounds until the orders asked for are walked or the time is
up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from serving.errors import http_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipelines.training.candidates import Rows
    from serving.version import Served

MOST_ROWS = 10  # of a request
SECONDS = 2.0  # of a request
ORDERS_A_ROUND = 16
WAITING = 4  # requests that may wait for the one thread
UNKNOWN = "\uffff"  # a text that no model knows
METHOD = "sampled Shapley values of the log odds (Strumbelj & Kononenko 2014), each order walked both ways"
LEAST_SHARE = 1e-7  # of a probability: log odds beyond it are float32's rounding


class Explainer:
    """Explains rows in a thread of its own, a request at a time."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "explain")
        self._asked = 0

    async def explain(self, served: Served, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
        """Reasons for each row.

        Raises:
            RefusedError: too many rows or requests at once, or the version has nothing to compare with.
        """
        if len(rows) > MOST_ROWS:
            raise http_error(422, "too_many_rows_to_explain", "body")
        if not served.description.get("background"):
            raise http_error(409, "no_background")  # a version of earlier days
        if self._asked >= WAITING:
            raise http_error(503, "explaining_others", headers=((b"retry-after", b"2"),))
        self._asked += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, reasons, served, rows)
        finally:
            self._asked -= 1


def reasons(served: Served, rows: Sequence[Sequence[Any]], *, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """For each row `base`, the mean log odds of the background, and `values`, what each feature adds: in sum the row's own."""
    import numpy as np

    from pipelines.training import shapley

    values = served.description["serving"]
    background, target = (_coded(served, served.feeds(some)) for some in (served.description["background"], rows))
    until, orders = time.monotonic() + seconds, 0
    total = np.zeros((len(rows), len(served.columns.kinds)))
    while orders < values["explain_permutations"] and (not orders or time.monotonic() < until):
        count = min(ORDERS_A_ROUND, values["explain_permutations"] - orders)
        count += count % 2
        part = shapley.sampled(lambda some: margin(served, some), target, background, permutations=count, seed=orders)
        total, orders = total + part * count, orders + count
    margins, names = margin(served, target), list(served.columns.kinds)
    explanations = []
    for row_margin, shares in zip(margins, total / orders, strict=True):
        listed = dict(zip(names, shares.tolist(), strict=True))
        ordered = dict(sorted(listed.items(), key=lambda item: -abs(item[1])))
        base = float(row_margin - shares.sum())
        explanations.append({"method": METHOD, "unit": "log odds", "orders": orders, "base": base, "values": ordered})
    return explanations


def margin(served: Served, rows: Rows) -> NDArray[np.float64]:
    """Log odds of the graph's probability, (rows,)."""
    import numpy as np

    feeds = {}
    if rows.numbers.shape[1]:
        feeds["numbers"] = rows.numbers.astype(np.float32)
    if rows.codes.shape[1]:
        texts = np.empty(rows.codes.shape, dtype=object)
        for place, values in enumerate(served.model.schema["categories"].values()):
            texts[:, place] = np.array([UNKNOWN, "", *values], dtype=object)[rows.codes[:, place].astype(int)]
        feeds["categories"] = texts
    share = np.clip(served.model.run(feeds).astype(np.float64), LEAST_SHARE, 1 - LEAST_SHARE)
    return np.log(share / (1 - share))


def _coded(served: Served, feeds: dict[str, NDArray[Any]]) -> Rows:
    """Fed rows with their texts as codes: 0 unknown, 1 missing, 2.. the known ones."""
    import numpy as np

    categories = served.model.schema["categories"]
    count = len(next(iter(feeds.values())))
    codes = np.zeros((count, len(categories)), dtype=np.float32)
    for place, values in enumerate(categories.values()):
        code = {"": 1} | {value: index for index, value in enumerate(values, start=2)}
        codes[:, place] = [code.get(text, 0) for text in feeds["categories"][:, place]]
    return _rows(served, feeds.get("numbers", np.zeros((count, 0), np.float32)), codes)


def _rows(served: Served, numbers: NDArray[Any], codes: NDArray[Any]) -> Rows:
    import numpy as np

    from pipelines.training.candidates import Rows

    category_counts = tuple(len(values) for values in served.model.schema["categories"].values())
    nothing = np.zeros(len(numbers), dtype=np.int64)  # labels, entities and weights, which no margin reads
    return Rows(numbers, codes, nothing.astype(np.int8), nothing, nothing.astype(np.float32), category_counts)
