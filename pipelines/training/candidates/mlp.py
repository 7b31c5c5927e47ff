"""A feed-forward network in PyTorch: bins of numbers and embeddings of categories, layers with batch norm and dropout.

It learns on a GPU where there is one, in mixed precision, and on the CPU otherwise; what comes out of either is
weights on the CPU. Results are equal on one class of device, not across classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from pipelines.config.sections import CandidateParams
from pipelines.training.candidates import Rows
from pipelines.training.fitting import networks, stopping

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from pipelines.training.fitting.graph import Graph

STEPS = 50  # an epoch, at least: a small table has smaller batches
SMALLEST_BATCH = 64
CHUNK_ROWS = 8192


class Params(CandidateParams):
    width: Annotated[int, Field(ge=1)]
    layers: Annotated[int, Field(ge=1)]
    bins: Annotated[int, Field(ge=1)]
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
    metadata: dict[str, Any]
    threads: int


def fit(rows: Rows, params: Params, *, seed: int, threads: int) -> Model:
    """The weights of the epoch that had the lowest loss on entities set aside.

    Raises:
        EvergreenError: the network does not fit into memory.
    """
    from pipelines.training.fitting import epochs

    aside = stopping.validation_rows(rows.entities, seed)
    learned, judged = rows.take(~aside), rows.take(aside)
    batch = min(params.batch, max(SMALLEST_BATCH, len(learned) // STEPS))
    rate = params.learning_rate * (batch / params.batch) ** 0.5  # square-root scaling for Adam: Malladi et al. 2022
    plan = epochs.Plan(params.epochs, params.patience, batch, rate, params.weight_decay, seed)
    with epochs.reproducible(seed, threads):
        encoding = networks.learn_encoding(learned, params.bins)
        network = _network(encoding, learned, params)
        progress = epochs.train(network, _data(encoding, learned), _data(encoding, judged), plan, _device())
    metadata = {
        "device": progress.device,  # its class: two devices of one class make one bundle
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "batch": batch,
        "parameters": sum(part.numel() for part in progress.network.parameters()),
    }
    return Model(progress.network, encoding, metadata, threads)


def margin(model: Model, rows: Rows) -> NDArray[np.float64]:
    from pipelines.training.fitting import epochs

    with epochs.reproducible(0, model.threads):
        data = _data(model.encoding, rows)
        return networks.margins(model.network, data.numbers, data.places, CHUNK_ROWS).double().numpy()


def metadata(model: Model) -> dict[str, Any]:
    """Where and how it learnt: device, epochs, batch, and its size."""
    return model.metadata


def write(graph: Graph, models: list[Model], schema: dict[str, Any]) -> str:
    codes = graph.codes(schema["categories"]) if schema["categories"] else ""
    return graph.add("Concat", [_write(graph, model, schema, codes) for model in models], "margins", axis=1)


def _write(graph: Graph, model: Model, schema: dict[str, Any], codes: str) -> str:
    encoding, parts = model.encoding, []
    if schema["numbers"]:
        parts += graph.bins(encoding.median, encoding.column, encoding.low, encoding.width, encoding.flagged)
    if schema["categories"]:
        table = model.network["table"].weight.detach().numpy()[encoding.place]
        parts.append(graph.embeddings(codes, table, encoding.starts))
    layers = networks.dense_layers(model.network)
    return graph.dense(graph.add("Concat", parts, "encoded", axis=1), layers)


def _device() -> str:
    """The class of device that torch computes on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _network(encoding: networks.Encoding, rows: Rows, params: Params) -> nn.Module:
    from scipy.special import logit

    share = ((rows.labels * rows.weights).sum() + 1) / (rows.weights.sum() + 2)
    options = params.model_dump(include={"width", "layers", "dropout", "embedding"})
    return networks.build(encoding, base=float(logit(share)), **options)


def _data(encoding: networks.Encoding, rows: Rows) -> Any:
    import torch

    from pipelines.training.fitting.epochs import Data

    arrays = (rows.numbers, encoding.places(rows.codes), rows.labels.astype("float32"), rows.weights)
    return Data(*(torch.tensor(array) for array in arrays))
