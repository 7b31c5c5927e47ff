"""Curves of the candidates on all rows, out of fold: CSV for `dvc plots`, and SVG for people, all of one size.

A picture has no background, and each of its colours has a second value for a dark page: it looks as the page around it does.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = np.linspace(0, 1, 101)
BINS = 10
Curve = tuple[NDArray[Any], NDArray[Any]]
SIZE = (5.2, 4.2)  # inches
# Colours that are told apart by the colour-blind too (Okabe & Ito 2008, darkened for text), light page and dark page.
INK, QUIET, FAINT, GREEN = "#1c2321", "#5d6763", "#d9dedb", "#117a5b"
LINES = ("#0a67a3", "#c2570c", GREEN, "#8a4f9e", "#8f6a00", "#4d5b66")
DARK = dict(
    zip(
        (INK, QUIET, FAINT, *LINES),
        ("#e6eae8", "#a0aaa5", "#37403c", "#6db9ee", "#f59a56", "#57c9a0", "#d3a2e6", "#e2c04d", "#b9c4cc"),
        strict=True,
    )
)


def roc(labels: NDArray[Any], scores: NDArray[Any]) -> Curve:
    """False positive rate and true positive rate, each (101,)."""
    hits, misses = _cumulated(labels, scores)
    return GRID, np.interp(GRID, misses / misses[-1], hits / hits[-1])


def precision_recall(labels: NDArray[Any], scores: NDArray[Any]) -> Curve:
    """Recall and the best precision at that recall or more, each (100,)."""
    hits, misses = _cumulated(labels, scores)
    recall, precision = hits[1:] / hits[-1], hits[1:] / (hits[1:] + misses[1:])
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return GRID[1:], best[np.searchsorted(recall, GRID[1:] - 1e-12)]


def gain(labels: NDArray[Any], scores: NDArray[Any]) -> Curve:
    """Share of rows contacted, highest scores first, and share of positives among them, each (101,)."""
    hits, misses = _cumulated(labels, scores)
    return GRID, np.interp(GRID, (hits + misses) / len(labels), hits / hits[-1])


def calibration(labels: NDArray[Any], scores: NDArray[Any]) -> Curve:
    """Mean score and observed rate in ten bins of equal size, each (10,)."""
    bins = np.array_split(np.argsort(scores, kind="stable"), BINS)
    return np.array([scores[rows].mean() for rows in bins]), np.array([labels[rows].mean() for rows in bins])


CURVES = {
    "roc": (roc, "false positive rate", "true positive rate"),
    "precision_recall": (precision_recall, "recall", "precision"),
    "gain": (gain, "share of rows contacted", "share of positives found"),
    "calibration": (calibration, "predicted probability", "observed rate"),
}


def write(
    folder: Path,
    labels: NDArray[Any],
    scores: dict[str, NDArray[Any]],
    evaluation: dict[str, Any],
    shap: dict[str, dict[str, float]],
) -> None:
    """Fill `folder`: <curve>.csv (challenger and baseline) and <curve>.svg (all candidates), confusion.svg, shap.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    challenger, baseline = evaluation["challenger"], evaluation["baseline"]
    for name, (curve, x_label, y_label) in CURVES.items():
        curves = {candidate: curve(labels, values) for candidate, values in scores.items()}
        _write_csv(folder / f"{name}.csv", curves[challenger], curves[baseline])
        figure, axes = _figure(name.replace("_", " "), x_label, y_label)
        for number, (candidate, (x, y)) in enumerate(curves.items()):
            wide, marker = candidate == challenger, "o" if name == "calibration" else None
            colour = LINES[number % len(LINES)]
            axes.plot(x, y, label=candidate, color=colour, linewidth=2.5 if wide else 1.2, marker=marker, markersize=4)
        if name != "precision_recall":
            end = 1.0 if name != "calibration" else max(axes.get_xlim()[1], axes.get_ylim()[1])
            axes.plot([0, end], [0, end], color=QUIET, linewidth=1, linestyle=":")
        axes.legend(frameon=False, labelcolor=INK)
        _save(figure, folder / f"{name}.svg")
    _save(_confusion(evaluation["candidates"][challenger]["confusion"], challenger), folder / "confusion.svg")
    _save(_shap(shap[challenger], challenger), folder / "shap.svg")


def _cumulated(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Positives and negatives at or above each distinct score, highest first, beginning with none of either."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    hits = np.cumsum(labels[order])[ends]
    return np.r_[0, hits].astype(float), np.r_[0, ends + 1 - hits].astype(float)


def _write_csv(path: Path, challenger: Curve, baseline: Curve) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["x", "challenger", "baseline"])
        for x, challenger_y, baseline_y in zip(challenger[0], challenger[1], baseline[1], strict=True):
            table.writerow([f"{x:.9g}", f"{challenger_y:.9g}", f"{baseline_y:.9g}"])


def _figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, color=INK)
    axes.set_xlabel(x_label, color=INK)
    axes.set_ylabel(y_label, color=INK)
    axes.tick_params(colors=QUIET)
    axes.grid(color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set(color=QUIET, visible=side in ("left", "bottom"))
    return figure, axes


def _confusion(cells: dict[str, int], candidate: str) -> Figure:
    from matplotlib.patches import Rectangle

    figure, axes = _figure(f"confusion, {candidate}", "decided", "true")
    counts = np.array(
        [[cells["true_negative"], cells["false_positive"]], [cells["false_negative"], cells["true_positive"]]], dtype=float
    )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.grid(False)
    for row in range(2):
        for column in range(2):
            share = float(shares[row, column])
            corner, fill = (column - 0.48, row - 0.48), 0.06 + 0.44 * share  # numbers are read on it, light and dark
            axes.add_patch(Rectangle(corner, 0.96, 0.96, facecolor=GREEN, alpha=fill))
            text = f"{counts[row, column]:,.0f}\n{share:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=INK, fontsize=13)
    axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
    axes.set_xticks([0, 1], ["negative", "positive"])
    axes.set_yticks([0, 1], ["negative", "positive"], rotation=90, va="center")
    return figure


def _shap(strength: dict[str, float], candidate: str) -> Figure:
    top = sorted(strength.items(), key=lambda item: item[1])[-15:]
    composed = candidate == "ensemble"  # its members' values stand for its own, each in its own log odds
    title = f"{'share of its members' if composed else 'mean'} |SHAP|, {candidate}"
    figure, axes = _figure(title, "share" if composed else "log odds", "")
    axes.barh([name.replace("$", r"\$") for name, _ in top], [value for _, value in top], color=GREEN)
    return figure


def _save(figure: Figure, path: Path) -> None:
    """As SVG, the same of the same figure, in which each colour is a variable that a dark page changes."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    light = "".join(f"--c{number}:{colour};" for number, colour in enumerate(DARK))
    dark = "".join(f"--c{number}:{colour};" for number, colour in enumerate(DARK.values()))
    drawn = text.getvalue()
    for number, colour in enumerate(DARK):
        drawn = drawn.replace(colour, f"var(--c{number})")
    themes = f":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    style = f"<style>{themes}text{{font-family:system-ui,sans-serif}}</style>"
    path.write_text(re.sub(r"(<svg[^>]*>)", lambda match: match[1] + style, drawn, count=1), encoding="utf-8")
