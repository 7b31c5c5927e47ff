"""A feed-forward network in PyTorch: pieces of numbers and embeddings of categories, layers with batch norm and dropout.

It learns on a GPU where there is one, in mixed precision, and on the CPU otherwise; what comes out of either is
weights on the CPU. Results are equal on one class of device, not across classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.candidates import CandidateParams, Rows
from pipelines.fitting import checkpoints, networks, stopping

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from torch import nn

    from pipelines.fitting.calibration import Calibration

STEPS = 50  # an epoch, at least: a small table has smaller batches
SMALLEST_BATCH = 64
CHUNK_ROWS = 8192


class Params(CandidateParams):
    width: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    pieces: Annotated[int, Field(ge=1)]
    embedding: Annotated[int, Field(ge=1)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Annotated[int, Field(ge=SMALLEST_BATCH)]
    epochs: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Model:
    network: nn.Module  # on the CPU, in evaluation mode
    encoding: networks.Encoding
    facts: dict[str, Any]
    threads: int


def fit(rows: Rows, params: Params, *, seed: int, threads: int, checkpoint: Path | None = None) -> Model:
    """The weights of the epoch that served set-aside customers best.

    Args:
        checkpoint: folder for the state after each epoch. A fit of the same rows, params and versions that finds one
            there goes on from it, to the very weights that it would have had; the caller removes the folder.

    Raises:
        EvergreenError: memory runs out even for small batches.
    """
    from pipelines.fitting import epochs

    aside = stopping.set_aside(rows.customers, seed)
    learnt, judged = rows.take(~aside), rows.take(aside)
    batch = min(params.batch, max(SMALLEST_BATCH, len(learnt.labels) // STEPS))
    rate = params.learning_rate * (batch / params.batch) ** 0.5  # square-root scaling for Adam: Malladi et al. 2022
    plan = epochs.Plan(params.epochs, params.patience, batch, rate, params.weight_decay, seed)
    key = _key(rows, params, seed, threads) if checkpoint else ""
    with epochs.reproducible(seed, threads):
        encoding = networks.learn_encoding(learnt, params.pieces)
        progress = epochs.train(
            _network(encoding, learnt, params),
            _data(encoding, learnt),
            _data(encoding, judged),
            plan,
            _device()[0],
            checkpoints.load(checkpoint, key) if checkpoint else None,
            lambda state: checkpoints.save(checkpoint, key, state) if checkpoint else None,
        )
    facts = {
        "device": progress.device,  # its class: two devices of one class make one bundle
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "batch": batch,  # not how many of its rows memory took at once: that is the machine's affair
        "parameters": sum(part.numel() for part in progress.network.parameters()),
    }
    return Model(progress.network, encoding, facts, threads)


def margin(model: Model, rows: Rows) -> NDArray[np.float64]:
    from pipelines.fitting import epochs

    with epochs.reproducible(0, model.threads):
        data = _data(model.encoding, rows)
        return networks.margins(model.network, data.numbers, data.places, CHUNK_ROWS).double().numpy()


def facts(model: Model) -> dict[str, Any]:
    """Where and how it learnt: device, epochs, batch, and its size."""
    return model.facts


def export(model: Model, schema: dict[str, Any], calibration: Calibration) -> onnx.ModelProto:
    from pipelines.fitting.graph import Graph

    graph, encoding = Graph(), model.encoding
    parts = []
    if schema["numbers"]:
        parts += graph.pieces(encoding.median, encoding.column, encoding.low, encoding.width, encoding.flagged)
    if schema["categories"]:
        table = model.network["table"].weight.detach().numpy()[encoding.place]
        parts.append(graph.embeddings(graph.codes(schema["categories"]), table, encoding.starts))
    layers = networks.dense_layers(model.network)
    return graph.model(graph.dense(graph.add("Concat", parts, "encoded", axis=1), layers), calibration, schema)


def _device() -> tuple[str, str]:
    """Where torch computes, and the class of that device."""
    import torch

    return ("cuda", torch.cuda.get_device_name()) if torch.cuda.is_available() else ("cpu", "cpu")


def _key(rows: Rows, params: Params, seed: int, threads: int) -> str:
    import torch

    from pipelines.fitting import epochs

    files = (__file__, networks.__file__, epochs.__file__, stopping.__file__)
    sources = [Path(file).read_text(encoding="utf-8") for file in files]
    versions = {"torch": torch.__version__, "device": _device()[1], "threads": threads, "sources": sources}
    return checkpoints.key_of(rows, {"params": params.model_dump(), "seed": seed} | versions)


def _network(encoding: networks.Encoding, rows: Rows, params: Params) -> nn.Module:
    from scipy.special import logit

    share = (rows.labels.sum() + 1) / (len(rows.labels) + 2)
    options = params.model_dump(include={"width", "layers", "dropout", "embedding"})
    return networks.build(encoding, base=float(logit(share)), **options)


def _data(encoding: networks.Encoding, rows: Rows) -> Any:
    import torch

    from pipelines.fitting.epochs import Data

    arrays = (rows.numbers, encoding.places(rows.codes), rows.labels.astype("float32"))
    return Data(*(torch.tensor(array) for array in arrays))
