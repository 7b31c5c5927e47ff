"""The flow `stage`: one stage of the DAG, on whatever pool it is deployed to, for a run that works elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.runtime import flow_run
from prefect.states import Cancelled

from flows.execution import dvc, workers, workspace
from pipelines.config.settings import load as load_settings

SIGN_S = 5.0  # between two signs of life


@flow(name="stage", flow_run_name="stage-{name}", persist_result=False)
def stage(name: str, repository: str, ref: str) -> Any:
    """Restore what the stage reads from the DVC remote, run it, and push what it made.

    When nobody waits for it any more, because its worker was taken for dead, say, it ends and pushes nothing.

    Args:
        name: the stage as DVC writes it, such as `train@mlp`.
        repository: where the run's ref is to be fetched from: a path or URL that git reads.
        ref: the run's ref, whose dvc.lock knows the results so far.
    """
    settings, log, own_id = load_settings(), get_run_logger(), UUID(str(flow_run.id))
    if not workers.is_wanted(workers.note_alive(own_id)):
        return Cancelled(message="Nobody waited for it when it began.")
    with _watched(own_id) as watch:
        workspace.git(settings.folder, "fetch", "--quiet", "--no-tags", repository, f"+{ref}:{ref}")
        place = workspace.create(settings, str(own_id), workspace.git(settings.folder, "rev-parse", ref))
        try:
            with dvc.runner(place.folder, os.environ | settings.environment()) as runner:
                watch.runner = runner
                for needed in dvc.needed_by(runner.stages, name):
                    runner.run(needed.name, log.info, pull=True)
                if workers.is_wanted(workers.look(own_id)):
                    runner.push()
        except dvc.StageError:
            if workers.is_wanted(workers.look(own_id)):
                raise
        finally:
            workspace.remove(place)
    if not workers.is_wanted(workers.look(own_id)):
        return Cancelled(message="Nobody waited for it any more: nothing was pushed.")
    return None


class _Watch:
    """Gives signs of life, and ends the runner, once there is one, when nobody wants the run's result."""

    runner: dvc.Runner | None = None

    def __init__(self, own_id: UUID, done: threading.Event) -> None:
        self._own_id, self._done = own_id, done

    def __call__(self) -> None:
        import httpx

        while not self._done.wait(SIGN_S):
            try:
                wanted = workers.is_wanted(workers.note_alive(self._own_id))
            except httpx.HTTPError:  # a server that restarts
                continue
            if not wanted and self.runner:
                self.runner.end()  # first: where the worker was killed, nobody reads what we log, and logging may fail
                return


@contextmanager
def _watched(own_id: UUID) -> Iterator[_Watch]:
    """From the first command to the last push: each may take long, and a silent run is taken for dead.

    Prefect ends the process of a cancelled run by its worker, which may be gone.
    """
    done = threading.Event()
    watch = _Watch(own_id, done)
    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield watch
    finally:
        done.set()
        watching.join()
