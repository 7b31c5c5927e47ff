"""Training a network epoch by epoch, reproducibly."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.training.fitting import networks

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WARM_UP = 0.2  # of all steps: the rate climbs to its peak, then falls along a cosine
UNKNOWN_RATE = 0.01  # of categories, turned into unknown while learning, so that unknown means something
FULL = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True)
class Plan:
    """What stays the same during a fit."""

    epochs: int
    patience: int
    batch: int
    learning_rate: float
    weight_decay: float
    seed: int

    def rate(self, done: float) -> float:
        """Learning rate when a share `done` of all steps is done (one cycle: Smith & Topin 2018)."""
        if done < WARM_UP:
            return self.learning_rate * (0.05 + 0.95 * done / WARM_UP)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP)))


@dataclass(frozen=True)
class Data:
    """Rows on a device."""

    numbers: Tensor  # (rows, numbers)
    places: Tensor  # (rows, categories)
    labels: Tensor  # (rows,)
    weights: Tensor  # (rows,)

    def to(self, device: str) -> Data:
        """Copied while the CPU goes on, where the device is another."""
        if device == "cpu":
            return self
        parts = (self.numbers, self.places, self.labels, self.weights)
        return Data(*(part.pin_memory().to(device, non_blocking=True) for part in parts))


@dataclass
class Progress:
    """A fit under way."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any
    shuffle: torch.Generator
    device: str
    epoch: int = 0  # finished ones
    best_epoch: int = 0
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, network: nn.Module, plan: Plan, device: str) -> Progress:
        import torch

        network.to(device)
        decayed = [part.weight for part in network.modules() if isinstance(part, torch.nn.Linear)]
        kept = [part for part in network.parameters() if all(part is not other for other in decayed)]
        groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate)
        scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
        return cls(network, optimizer, scaler, torch.Generator().manual_seed(plan.seed), device)


def train(network: nn.Module, learned: Data, aside: Data, plan: Plan, device: str) -> Progress:
    """The network with the weights of the epoch that had the lowest loss on the rows set aside, on the CPU.

    Raises:
        EvergreenError: memory runs out.
    """
    progress = Progress.start(network, plan, device)
    try:
        learned, aside = learned.to(device), aside.to(device)
        while progress.epoch < plan.epochs and progress.epoch - progress.best_epoch < plan.patience:
            _run_epoch(progress, learned, aside, plan)
            stage.fault("mlp:epoch")
            stage.fault(f"mlp:epoch:{progress.epoch}")
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryError) or any(text in str(error) for text in FULL):
            raise EvergreenError(
                f"Out of memory on the {device} with {len(learned.labels):,} rows and batches of {plan.batch}: lower "
                "candidates.mlp.batch or width, or run the stage on a machine with more memory."
            ) from None
        raise
    progress.network.load_state_dict(progress.best)
    progress.network.to("cpu").eval()
    return progress


def _run_epoch(progress: Progress, learned: Data, aside: Data, plan: Plan) -> None:
    import torch

    count = len(learned.labels)
    order = torch.randperm(count, generator=progress.shuffle).to(progress.device, non_blocking=True)
    batches = torch.tensor_split(order, max(1, count // plan.batch))
    progress.network.train()
    for number, batch in enumerate(batches):
        rate = plan.rate((progress.epoch + number / len(batches)) / plan.epochs)
        for group in progress.optimizer.param_groups:
            group["lr"] = rate
        _step(progress, learned, batch)
    margins = networks.margins(progress.network, aside.numbers, aside.places, plan.batch)
    loss = float(_loss(margins, aside.labels, aside.weights))
    loss = math.inf if math.isnan(loss) else loss
    progress.epoch += 1
    if not progress.best or loss < progress.best_loss:
        progress.best_loss, progress.best_epoch = loss, progress.epoch
        progress.best = {name: value.detach().cpu().clone() for name, value in progress.network.state_dict().items()}


def _step(progress: Progress, learned: Data, batch: Tensor) -> None:
    """One step of the optimizer."""
    import torch

    progress.optimizer.zero_grad(set_to_none=True)
    places = _forget(progress.network, learned.places[batch])
    with torch.autocast(progress.device, dtype=torch.float16, enabled=progress.device == "cuda"):
        margins = networks.forward(progress.network, learned.numbers[batch], places)
    progress.scaler.scale(_loss(margins.float(), learned.labels[batch], learned.weights[batch])).backward()
    progress.scaler.step(progress.optimizer)
    progress.scaler.update()


def _loss(margins: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean negative log likelihood of rows that count their weights."""
    import torch

    return (
        torch.nn.functional.binary_cross_entropy_with_logits(margins, labels, weight=weights, reduction="sum") / weights.sum()
    )


def _forget(network: Any, places: Tensor) -> Tensor:
    """Some known categories made unknown; a missing one stays missing, which the caller can always tell."""
    import torch

    forgotten = torch.rand(places.shape, device=places.device) < UNKNOWN_RATE
    return torch.where(forgotten & (places != network.starts + 1), network.starts, places)


@contextmanager
def reproducible(seed: int, threads: int) -> Iterator[None]:
    """Equal sums in equal fits on one class of device: fixed seeds, algorithms and threads; as it was afterwards."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_num_threads(before[0])
            torch.use_deterministic_algorithms(before[1])
