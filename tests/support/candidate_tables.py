"""Rows that every candidate is tried on, and the scores of its graph."""

import numpy as np
import onnx

from pipelines import onnx_model
from pipelines.training.candidates import Rows
from pipelines.training.fitting.calibration import Uncalibrated
from pipelines.training.fitting.graph import Calibrations, Graph

KNOWN = {"contract": ["monthly", "two years", "yearly"], "payment": ["card", "check", "transfer", "wire"]}
SCHEMA = {"numbers": ["tenure", "charge", "calls", "age"], "categories": KNOWN}


def planted(count=6000, seed=5):
    """An interaction of tenure and contract that no sum of one-feature terms holds; two rows a customer.

    Tenure and calls are missing in places, charge and age nowhere; no row has an unknown code.
    """
    random = np.random.default_rng(seed)
    tenure, charge = random.integers(0, 70, count), random.normal(60, 25, count)
    contract, payment = random.integers(2, 5, count), random.integers(1, 6, count)
    sign = np.where(contract == 2, 1, -1)
    odds = -1 + 2 * sign * np.where(tenure < 30, 1, -1) + 0.02 * (charge - 60)
    numbers = np.column_stack([tenure, charge, random.exponential(3, count), random.integers(18, 90, count)])
    numbers[random.random(count) < 0.1, 0] = np.nan
    numbers[random.random(count) < 0.05, 2] = np.nan
    return Rows(
        numbers.astype(np.float32),
        np.column_stack([contract, payment]).astype(np.float32),
        (random.random(count) < 1 / (1 + np.exp(-odds))).astype(np.int8),
        np.arange(count, dtype=np.int64) // 2,
        np.ones(count, np.float32),
        tuple(len(values) for values in KNOWN.values()),
    )


def odd(count=20_000, seed=9):
    """Anything that can be asked for: every code, unknown and missing ones too, NaN everywhere, far-off numbers."""
    random = np.random.default_rng(seed)
    numbers = (random.normal(30, 40, (count, 4)) * random.choice([1, 1, 1, 1e-30, 1e6, 1e30], (count, 4))).astype(np.float32)
    numbers[random.random((count, 4)) < 0.15] = np.nan
    numbers[random.random((count, 4)) < 0.05] = 0.0
    codes = np.column_stack([random.integers(0, len(values) + 2, count) for values in KNOWN.values()])
    known = tuple(len(values) for values in KNOWN.values())
    return Rows(
        numbers, codes.astype(np.float32), np.zeros(count, np.int8), np.arange(count), np.ones(count, np.float32), known
    )


def graph_of(module, models, schema=SCHEMA, *, calibration=None, refit=False):
    """The graph of a candidate's models, one a fold, each calibrated like what is served; by default not at all."""
    graph, chosen = Graph(), calibration or Uncalibrated()
    calibrations = Calibrations(chosen, [chosen] * (len(models) - refit))
    return graph.model(module.write(graph, models, schema), calibrations, schema, refit=refit)


def graph_scores(graph, rows, folder, output="probability"):
    """What a graph gives rows whose categories are texts again: (rows,) served, or (rows, folds)."""
    onnx.save(graph, folder / "model.onnx")
    texts = [np.array(["never seen", "", *known], dtype=object) for known in KNOWN.values()]
    categories = np.column_stack([texts[index][rows.codes[:, index].astype(int)] for index in range(len(texts))])
    feeds = {"numbers": rows.numbers, "categories": categories}
    [found] = onnx_model.load_graph(folder / "model.onnx", SCHEMA).session.run([output], feeds)
    return found[:, 0] if output == "probability" else found


def auc(labels, margins):
    from pipelines.statistics import metrics

    return float(metrics.roc_auc(labels, margins, np.ones((1, len(labels))))[0])
