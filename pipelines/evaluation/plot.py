"""Curves of the candidates on all rows, out of fold: CSV for `dvc plots`, and PNG for people."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = np.linspace(0, 1, 101)
BINS = 10
Curve = tuple[NDArray, NDArray]


def roc(labels: NDArray, scores: NDArray) -> Curve:
    """False positive rate and true positive rate, each (101,)."""
    hits, misses = _cumulated(labels, scores)
    return GRID, np.interp(GRID, misses / misses[-1], hits / hits[-1])


def precision_recall(labels: NDArray, scores: NDArray) -> Curve:
    """Recall and the best precision at that recall or more, each (100,)."""
    hits, misses = _cumulated(labels, scores)
    recall, precision = hits[1:] / hits[-1], hits[1:] / (hits[1:] + misses[1:])
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return GRID[1:], best[np.searchsorted(recall, GRID[1:] - 1e-12)]


def gain(labels: NDArray, scores: NDArray) -> Curve:
    """Share of rows contacted, highest scores first, and share of positives among them, each (101,)."""
    hits, misses = _cumulated(labels, scores)
    return GRID, np.interp(GRID, (hits + misses) / len(labels), hits / hits[-1])


def calibration(labels: NDArray, scores: NDArray) -> Curve:
    """Mean score and observed rate in ten bins of equal size, each (10,)."""
    bins = np.array_split(np.argsort(scores, kind="stable"), BINS)
    return np.array([scores[rows].mean() for rows in bins]), np.array([labels[rows].mean() for rows in bins])


CURVES = {
    "roc": (roc, "false positive rate", "true positive rate"),
    "precision_recall": (precision_recall, "recall", "precision"),
    "gain": (gain, "share of customers contacted", "share of positives found"),
    "calibration": (calibration, "predicted probability", "observed rate"),
}


def write(
    folder: Path, labels: NDArray, scores: dict[str, NDArray], evaluation: dict[str, Any], shap: dict[str, dict[str, float]]
) -> None:
    """Fill `folder`: <curve>.csv (challenger and baseline) and <curve>.png (all candidates), confusion.png, shap.png."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    challenger, baseline = evaluation["challenger"], evaluation["baseline"]
    for name, (curve, x_label, y_label) in CURVES.items():
        found = {candidate: curve(labels, values) for candidate, values in scores.items()}
        _write_csv(folder / f"{name}.csv", found[challenger], found[baseline])
        figure = Figure(figsize=(5, 4), layout="constrained")
        axes = figure.subplots()
        for candidate, (x, y) in found.items():
            wide = candidate == challenger
            axes.plot(x, y, label=candidate, linewidth=2.5 if wide else 1.2, marker="o" if name == "calibration" else None)
        _finish(axes, name.replace("_", " "), x_label, y_label, diagonal=name != "precision_recall")
        _save(figure, folder / f"{name}.png")
    _save(_confusion(evaluation["candidates"][challenger]["confusion"], challenger), folder / "confusion.png")
    _save(_shap(shap[challenger], challenger), folder / "shap.png")


def _cumulated(labels: NDArray, scores: NDArray) -> tuple[NDArray, NDArray]:
    """Positives and negatives at or above each distinct score, highest first, beginning with none of either."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    hits = np.cumsum(labels[order])[ends]
    return np.r_[0, hits].astype(float), np.r_[0, ends + 1 - hits].astype(float)


def _write_csv(path: Path, challenger: Curve, baseline: Curve) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["x", "challenger", "baseline"])
        for x, one, other in zip(challenger[0], challenger[1], baseline[1], strict=True):
            table.writerow([f"{x:.9g}", f"{one:.9g}", f"{other:.9g}"])


def _finish(axes: Axes, title: str, x_label: str, y_label: str, *, diagonal: bool) -> None:
    if diagonal:
        end = 1.0 if title != "calibration" else max(axes.get_xlim()[1], axes.get_ylim()[1])
        axes.plot([0, end], [0, end], color="0.7", linewidth=1, linestyle=":")
    axes.set(title=title, xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _confusion(cells: dict[str, int], candidate: str) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.subplots()
    counts = np.array(
        [[cells["true_negative"], cells["false_positive"]], [cells["false_negative"], cells["true_positive"]]], dtype=float
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Greens", vmin=0, vmax=1)
    for row in range(2):
        for column in range(2):
            axes.text(
                column,
                row,
                f"{counts[row, column]:,.0f}\n{shares[row, column]:.0%}",
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.6 else "black",
            )
    axes.set(xticks=[0, 1], yticks=[0, 1], xlabel="decided", ylabel="true", title=f"confusion, {candidate}")
    axes.set_xticklabels(["negative", "positive"])
    axes.set_yticklabels(["negative", "positive"])
    return figure


def _shap(strength: dict[str, float], candidate: str) -> Any:
    from matplotlib.figure import Figure

    top = sorted(strength.items(), key=lambda item: item[1])[-15:]
    figure = Figure(figsize=(6, 0.3 * len(top) + 1.2), layout="constrained")
    axes = figure.subplots()
    axes.barh([name.replace("$", r"\$") for name, _ in top], [value for _, value in top], color="seagreen")
    composed = candidate == "ensemble"  # its members' values stand for its own, each in its own log odds
    axes.set(
        title=f"{'share of its members' if composed else 'mean'} |SHAP|, {candidate}",
        xlabel="share" if composed else "log odds",
    )
    return figure


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
