"""What a measurement comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """One claim: `ratio` is to be at most (`lower`) or at least (`higher`) `goal`."""

    name: str
    ratio: float
    goal: float
    better: str = "lower"

    @property
    def met(self) -> bool:
        return self.ratio <= self.goal if self.better == "lower" else self.ratio >= self.goal

    def __str__(self) -> str:
        sign = "<=" if self.better == "lower" else ">="
        return f"{self.name:<64} {self.ratio:>7.2f} {sign}{self.goal:>4g}  {'ok' if self.met else 'MISSED'}"


def peak_mb() -> float:
    """The most memory that this process ever held, in megabytes; getrusage would give its parent's where that is higher."""
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1024
