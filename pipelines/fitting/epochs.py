"""Training a network epoch by epoch: reproducible, resumable after each of them, and smaller when memory runs out."""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipelines import stage
from pipelines.errors import EvergreenError
from pipelines.fitting import networks

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

WARM_UP = 0.2  # of all steps: the rate climbs to its peak, then falls along a cosine
UNKNOWN_RATE = 0.01  # of categories, turned into unknown while learning, so that unknown means something
FLOOR = 32  # rows at once: with fewer, batch norm is guesswork
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

    def to(self, device: str) -> Data:
        """Copied while the CPU goes on, where the device is another."""
        if device == "cpu":
            return self
        parts = (self.numbers, self.places, self.labels)
        return Data(*(part.pin_memory().to(device, non_blocking=True) for part in parts))


@dataclass
class Progress:
    """A fit under way."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: Any
    shuffle: torch.Generator
    device: str
    micro: int  # rows at once; gradients are added up to a batch
    epoch: int = 0  # finished ones
    best_epoch: int = 0
    best_loss: float = math.inf
    best: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, network: nn.Module, plan: Plan, device: str, micro: int) -> Progress:
        import torch

        network.to(device)
        decayed = [part.weight for part in network.modules() if isinstance(part, torch.nn.Linear)]
        kept = [part for part in network.parameters() if all(part is not other for other in decayed)]
        groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=plan.learning_rate)
        scaler = torch.amp.GradScaler(device, enabled=device == "cuda")
        return cls(network, optimizer, scaler, torch.Generator().manual_seed(plan.seed), device, micro)

    def state(self) -> dict[str, Any]:
        """All that the next epoch depends on, copied: tensors, numbers and texts only."""
        import torch

        on_cuda = self.device == "cuda"
        return {
            "network": copy.deepcopy(dict(self.network.state_dict())),
            "optimizer": copy.deepcopy(self.optimizer.state_dict()),
            "scaler": self.scaler.state_dict(),
            "shuffle": self.shuffle.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if on_cuda else None,
            "device": self.device,
            "micro": self.micro,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "best": self.best,
        }

    def load(self, state: dict[str, Any]) -> Progress:
        """Everything from a state but the device and the rows at once; returns itself."""
        import torch

        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffle.set_state(state["shuffle"])
        torch.set_rng_state(state["random"])
        if self.device == "cuda":
            self.scaler.load_state_dict(state["scaler"])
            torch.cuda.set_rng_state(state["random_cuda"])
        self.epoch, self.best_epoch, self.best_loss = state["epoch"], state["best_epoch"], state["best_loss"]
        self.best = state["best"]
        return self


def train(
    network: nn.Module,
    learnt: Data,
    aside: Data,
    plan: Plan,
    device: str,
    saved: dict[str, Any] | None,
    save: Callable[[dict[str, Any]], None],
) -> Progress:
    """The network with the weights of the epoch that had the lowest loss on the rows set aside, on the CPU.

    Args:
        saved: the state of an interrupted fit, which is continued.
        save: called with the state after each epoch.

    Raises:
        EvergreenError: the memory of the CPU does not hold `FLOOR` rows.
    """
    device, micro = (saved["device"], saved["micro"]) if saved else (device, plan.batch)
    progress = Progress.start(network, plan, device, micro)
    before = saved or progress.state()
    progress.load(before)
    if saved:
        stage.say(f"Going on after epoch {progress.epoch}, from its checkpoint.")
    there: tuple[Data, Data] | None = None
    while progress.epoch < plan.epochs and progress.epoch - progress.best_epoch < plan.patience:
        before, full = progress.state(), False
        try:
            there = there or (learnt.to(progress.device), aside.to(progress.device))
            _run_epoch(progress, *there, plan)
        except (RuntimeError, MemoryError) as error:
            if not (isinstance(error, MemoryError) or any(text in str(error) for text in FULL)):
                raise
            full = True
        if full:  # out here, where the error no longer holds the tensors
            there = there if progress.micro // 2 >= FLOOR else None
            progress = _smaller(progress, before, plan)
            continue
        save(progress.state())
        stage.fault("mlp:epoch")
        stage.fault(f"mlp:epoch:{progress.epoch}")
    progress.network.load_state_dict(progress.best)
    progress.network.to("cpu").eval()
    return progress


def _run_epoch(progress: Progress, learnt: Data, aside: Data, plan: Plan) -> None:
    import torch

    count = len(learnt.labels)
    order = torch.randperm(count, generator=progress.shuffle).to(progress.device, non_blocking=True)
    batches = torch.tensor_split(order, max(1, count // plan.batch))
    progress.network.train()
    for number, batch in enumerate(batches):
        rate = plan.rate((progress.epoch + number / len(batches)) / plan.epochs)
        for group in progress.optimizer.param_groups:
            group["lr"] = rate
        _step(progress, learnt, batch)
    margins = networks.margins(progress.network, aside.numbers, aside.places, progress.micro)
    loss = float(torch.nn.functional.binary_cross_entropy_with_logits(margins, aside.labels))
    loss = math.inf if math.isnan(loss) else loss
    progress.epoch += 1
    if not progress.best or loss < progress.best_loss:
        progress.best_loss, progress.best_epoch = loss, progress.epoch
        progress.best = {name: value.detach().cpu().clone() for name, value in progress.network.state_dict().items()}


def _step(progress: Progress, learnt: Data, batch: Tensor) -> None:
    """One step of the optimizer, on gradients that are added up over parts of the batch."""
    import torch

    progress.optimizer.zero_grad(set_to_none=True)
    for part in torch.tensor_split(batch, math.ceil(len(batch) / progress.micro)):
        places = _forget(progress.network, learnt.places[part])
        with torch.autocast(progress.device, dtype=torch.float16, enabled=progress.device == "cuda"):
            margins = networks.forward(progress.network, learnt.numbers[part], places)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(margins.float(), learnt.labels[part], reduction="sum")
        progress.scaler.scale(loss / len(batch)).backward()
    progress.scaler.step(progress.optimizer)
    progress.scaler.update()


def _forget(network: Any, places: Tensor) -> Tensor:
    """Some known categories made unknown; a missing one stays missing, which the caller can always tell."""
    import torch

    forgotten = torch.rand(places.shape, device=places.device) < UNKNOWN_RATE
    return torch.where(forgotten & (places != network.starts + 1), network.starts, places)


def _smaller(progress: Progress, before: dict[str, Any], plan: Plan) -> Progress:
    """The epoch's start again, with half the rows at once; below the floor on the CPU."""
    import torch

    device, micro = progress.device, progress.micro // 2
    if micro < FLOOR:
        if device == "cpu":
            raise EvergreenError(
                f"Out of memory with {progress.micro} rows at once on the CPU: lower candidates.mlp.width or train.cv_rows, "
                "or run the stage on a machine with more memory."
            )
        device, micro = "cpu", plan.batch
        stage.say(f"Out of memory with {progress.micro} rows at once on the GPU: going on on the CPU.")
    else:
        stage.say(
            f"Out of memory with {progress.micro} rows at once: epoch {progress.epoch + 1} starts again with {micro}, whose "
            f"gradients are added up to batches of {plan.batch}. Batch norm sees {micro} rows."
        )
    if progress.device == "cuda":
        torch.cuda.empty_cache()
    return Progress.start(progress.network, plan, device, micro).load(before)


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
