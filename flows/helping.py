"""Other workers of our own pool lend a hand with a stage whose work several processes can share.

How much is shared is the stage's affair: its own process is told `EVERGREEN_TUNE=lead:<study>`, those of the others,
which run the same command on the same inputs and write nothing, `help:<study>`. They can only make it faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from flows import dag, handover, workers
from flows.workspace import Workspace

ROLE = "EVERGREEN_TUNE"


@contextmanager
def helped(stage: dag.Stage, runner: dag.Runner, place: Workspace, log: Any) -> Iterator[dict[str, str]]:
    """Helpers while the block lasts, where there are workers to spare; gives the variables for the stage's own process."""
    study = f"{place.run_id}/{stage.name}"
    begun: list[UUID] = []
    try:
        _begin(stage, study, begun, runner, place, log)
    except Exception as error:  # whatever it is, the stage does without
        log.warning("Nobody could be asked to help with %s: %s", stage.name, error)
    try:
        yield {ROLE: f"lead:{study}"} if begun else {}
    finally:
        for run in begun:
            try:
                workers.cancel(run, f"Stage {stage.name}, which it helped with, has ended.")
            except Exception as error:
                log.warning("A helper of %s was not told that it has ended: %s", stage.name, error)


def _begin(stage: dag.Stage, study: str, begun: list[UUID], runner: dag.Runner, place: Workspace, log: Any) -> None:
    """One run for each live worker but ours, as many as the stage can use."""
    if stage.together < 2:
        return
    spare = sum(worker.lives for worker in workers.of_pool(handover.OWN_POOL)) - 1
    wanted = min(spare, stage.together - 1)
    if wanted < 1 or runner.restore(stage.name, log.debug):
        return
    handover.prepare(stage, runner, place, log)
    for _ in range(wanted):
        parameters = handover.parameters_of(stage, place) | {"study": study}
        begun.append(workers.begin(handover.OWN_POOL, parameters, [handover.tag_of(place.run_id), "helps"]))
    log.info("%s other workers of pool %s are asked to help with %s.", wanted, handover.OWN_POOL, stage.name)
