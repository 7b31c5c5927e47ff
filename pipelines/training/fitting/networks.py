"""The feed-forward network of the candidate mlp: how a row is encoded, the layers, and the same as plain arrays.

Numbers are encoded piecewise-linearly (Gorishniy et al. 2022, section 3.2): each piece between two quantiles says
how far a value has come through it, from 0 to 1. So the first layer can bend at every quantile, and no outlier
reaches further than the outermost ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from pipelines.training.candidates import Rows

TAIL = 0.005  # of the values, at each end: beyond it all are alike


@dataclass(frozen=True)
class Encoding:
    """How a row enters the network; learnt from the rows that are learnt from."""

    median: NDArray[np.float32]  # (numbers,); what a missing number counts as
    column: NDArray[np.int64]  # (bins,); the number that a bin is of
    low: NDArray[np.float32]  # (bins,); where it begins
    width: NDArray[np.float32]  # (bins,); how far it reaches
    flagged: NDArray[np.int64]  # numbers that were missing in some rows and present in others
    starts: NDArray[np.int64]  # (categories,); where each category's codes begin in `place`
    place: NDArray[np.int64]  # row of the embedding table for each code; one that was never seen has unknown's

    def places(self, codes: NDArray[Any]) -> NDArray[np.int64]:
        """Rows of the embedding table, (rows, categories)."""
        import numpy as np

        return self.place[codes.astype(np.int64) + self.starts]


def learn_encoding(rows: Rows, bins: int) -> Encoding:
    """The encoding of these rows, with at most `bins` bins a number."""
    import numpy as np

    absent = np.isnan(rows.numbers)
    present = [column[~gone] for column, gone in zip(rows.numbers.T, absent.T, strict=True)]
    edges = [_edges(column, bins) for column in present]
    counts = [max(0, len(edge) - 1) for edge in edges]
    sizes = np.array(rows.category_counts, dtype=np.int64) + 2
    starts = np.cumsum(sizes) - sizes
    fitted = np.zeros(int(sizes.sum()), dtype=bool)
    fitted[(rows.codes.astype(np.int64) + starts).ravel()] = True
    none = np.zeros(0, dtype=np.float32)
    return Encoding(
        median=np.array([np.median(column) if len(column) else 0 for column in present], dtype=np.float32),
        column=np.repeat(np.arange(len(edges)), counts),
        low=np.concatenate([none, *(edge[:-1] for edge in edges)]),
        width=np.concatenate([none, *(np.diff(edge) for edge in edges)]),
        flagged=np.flatnonzero(absent.any(axis=0) & ~absent.all(axis=0)),
        starts=starts,
        place=np.where(fitted, np.arange(len(fitted)), np.repeat(starts, sizes)),
    )


def _edges(values: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Ends of the bins: all values where they are few, quantiles otherwise; none of a constant."""
    import numpy as np

    distinct = np.unique(values)
    if len(distinct) <= bins + 1:
        return distinct
    edges = np.unique(np.quantile(values, np.linspace(TAIL, 1 - TAIL, bins + 1), method="nearest"))
    return edges if len(edges) > 1 else distinct[[0, -1]]


def build(encoding: Encoding, *, width: int, layers: int, dropout: float, embedding: int, base: float) -> nn.Module:
    """A network with fresh weights, on the CPU; it says `base`, the log odds of the base rate, until it has learnt."""
    import torch
    from torch import nn

    inputs = len(encoding.column) + len(encoding.flagged) + embedding * len(encoding.starts)
    hidden: list[nn.Module] = []
    for index in range(layers):
        hidden += [nn.Linear(width if index else inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
    network = nn.ModuleDict({"hidden": nn.Sequential(*hidden), "last": nn.Linear(width, 1)})
    if len(encoding.starts):
        network["table"] = nn.Embedding(len(encoding.place), embedding)
    nn.init.zeros_(network["last"].weight)
    nn.init.constant_(network["last"].bias, base)
    for name in ("median", "column", "low", "width", "flagged", "starts"):
        network.register_buffer(name, torch.from_numpy(getattr(encoding, name)), persistent=False)
    return network


def forward(network: Any, numbers: Tensor, places: Tensor) -> Tensor:
    """Margins (rows,) of numbers (rows, numbers), where NaN is missing, and rows of the embedding table (rows, categories)."""
    import torch

    absent = torch.isnan(numbers)
    filled = torch.where(absent, network.median, numbers)
    bins = ((filled[:, network.column] - network.low) / network.width).clamp(0, 1)
    parts = [bins, absent[:, network.flagged].to(bins.dtype)]
    if "table" in network:
        parts.append(network["table"](places).flatten(1))
    return network["last"](network["hidden"](torch.cat(parts, dim=1)))[:, 0]


def margins(network: Any, numbers: Tensor, places: Tensor, chunk: int) -> Tensor:
    """Margins (rows,) in evaluation mode, `chunk` rows at once."""
    import torch

    network.eval()
    with torch.no_grad():
        parts = zip(numbers.split(chunk), places.split(chunk), strict=True)
        return torch.cat([forward(network, *part).float() for part in parts])


def dense_layers(network: Any) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights (in, out) and offsets (out,) of each layer, with batch norm folded in (computed in double)."""
    layers = []
    modules = list(network["hidden"])
    for linear, norm in zip(modules[::4], modules[1::4], strict=True):
        scale = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        offset = (linear.bias.double() - norm.running_mean.double()) * scale + norm.bias.double()
        layers.append((linear.weight.double() * scale[:, None], offset))
    last = network["last"]
    layers.append((last.weight.double(), last.bias.double()))
    return [(weight.detach().T.float().numpy(), offset.detach().float().numpy()) for weight, offset in layers]
