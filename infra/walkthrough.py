"""`evergreen demo`: from nothing to a champion, by the same steps that a person would take."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

from flows import by_hand, results, workspace
from infra import deployments, stack, summary
from infra.demo import load
from pipelines import ledger, params
from pipelines.errors import EvergreenError
from pipelines.settings import Settings


def run(here: Settings, *, customers: int, as_of: str, say: Callable[[str], None]) -> None:
    """Stack, data, deployments, first retraining, results in this clone, summary.

    Raises:
        EvergreenError: a step failed; the ones before it need not be repeated, but may be.
    """
    began = time.monotonic()
    model = params.read(here.folder / "params.yaml").model

    def step(title: str) -> None:
        say(f"\n[{time.monotonic() - began:4.0f} s] {title}")

    step("Starting the local stack")
    stack.up(here, say)
    workspace.configure_dvc(here.folder, here)
    step(f"Simulating {customers:,} customers of a telecom company")
    load.load_demo(here.load_url, customers=customers, say=say)
    step("Deploying the flows")
    deployments.deploy(here, model, say)
    step(f"Retraining as of {as_of}: prefect deployment run 'retrain/{model}' --watch")
    retrain(here, model, as_of)
    step("Bringing the champion into this clone")
    reigning = ledger.champion(here.evergreen_url, model)
    if reigning is None:
        raise EvergreenError("The gate promoted nothing. `evergreen history` says why.")
    by_hand.checkout(here, reigning.version, force=False)
    step("Done\n")
    say(summary.champion(here, model))
    say(summary.oracle(here, here.folder / results.HELD_OUT))
    say(f"  all reports: {here.site_url}")
    say(f"  Prefect:     {here.prefect_api_url.removesuffix('/api')}")
    say(f"  MLflow:      {here.mlflow_tracking_uri}")
    say("\nNext: `dvc repro` (nothing to do), `dvc metrics show`, `evergreen history`, `evergreen down`.")


def retrain(here: Settings, model: str, as_of: str) -> None:
    """Run the deployment as a person would, its log on this terminal."""
    command = [sys.executable, "-m", "prefect", "deployment", "run", f"retrain/{model}", "-p", f"as_of={as_of}", "--watch"]
    done = subprocess.run(command, cwd=here.folder, check=False)
    if done.returncode:
        raise EvergreenError(f"retrain/{model} did not complete: its log is above, and in Prefect at {here.prefect_api_url}.")
