"""`python -m studies.selftest`: each gate is shown what it must stop, and what it must let through. A gate that cannot fail
is no gate.

A gate's module gives `claims(asked)`: what it claims, one after the other, each with what was seen.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipelines.config.errors import EvergreenError
from pipelines.config.params import Params

GATES = {  # name -> module, imported when it is asked for
    "validation": "studies.selftest.validation",
    "leakage": "studies.selftest.leakage",
    "promotion": "studies.selftest.promotion",
    "fairness": "studies.selftest.fairness",
    "drift": "studies.selftest.drift",
    "integrity": "studies.selftest.integrity",
}


@dataclass(frozen=True)
class Claim:
    """What a gate is to do, whether it did, and what was seen."""

    message: str
    holds: bool
    seen: str


@dataclass(frozen=True)
class Asked:
    """What the gates are asked with.

    params: the project's. size: how often a question is put whose answer is a share. data: the folder of the real tables.
    out: where the figures go. quick: one look at each gate, for seconds, in place of the whole measurement.
    """

    say: Callable[[str], None]
    params: Params
    size: int = 200
    data: Path | None = None
    out: Path | None = None
    quick: bool = False


class Gate(Protocol):
    """A module of GATES."""

    def claims(self, asked: Asked) -> Iterator[Claim]: ...


def run(
    names: Sequence[str],
    params: Params,
    say: Callable[[str], None],
    *,
    size: int = 200,
    data: Path | None = None,
    out: Path | None = None,
) -> bool:
    """Whether every claim of these gates holds; a quick look at all of them where none is named.

    Raises:
        EvergreenError: there is no such gate.
    """
    if unknown := [name for name in names if name not in GATES]:
        raise EvergreenError(f"No gate {', '.join(unknown)} has a self-test. There are: {', '.join(GATES)}.")
    proven = []
    for name in names or GATES:
        say(f"{name}:")
        gate: Any = importlib.import_module(GATES[name])
        holds = True
        for claim in gate.claims(Asked(say, params, size, data, out, quick=not names)):
            say(f"  {'holds' if claim.holds else 'FAILS'}  {claim.message}: {claim.seen}")
            holds &= claim.holds
        proven += [name] * holds
    failed = [name for name in names or GATES if name not in proven]
    say(f"Proven that they go red: {', '.join(proven) or 'none'}." + (f" NOT proven: {', '.join(failed)}." if failed else ""))
    return not failed
