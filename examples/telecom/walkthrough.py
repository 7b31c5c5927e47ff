"""`python -m examples.telecom demo`: from nothing to a champion, by the same steps that a person would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from cli import summary
from examples.telecom import load
from flows import follow, manual, results
from flows.execution import workspace
from infra.stack import api, deployments, local
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger


def run(settings: Settings, *, customers: int, as_of: str, say: Callable[[str], None]) -> None:
    """Stack, data, deployments, first retraining, results in this clone, summary.

    Raises:
        EvergreenError: a step failed; the ones before it need not be repeated, but may be.
    """
    began = time.monotonic()
    model = params.read(settings.folder / "params.yaml").model

    def step(title: str) -> None:
        say(f"\n[{time.monotonic() - began:4.0f} s] {title}")

    step("Starting the local stack")
    local.up(settings, say)
    workspace.configure_dvc(settings.folder, settings)
    step(f"Simulating {customers:,} customers of a telecom company")
    load.load_demo(settings.load_url, customers=customers, say=say)
    step("Deploying the flows")
    deployments.deploy(settings, model, say)
    step(f"Retraining as of {as_of}: evergreen run retrain --as-of {as_of}")
    run_deployment(settings, f"retrain/{model}", say, as_of=as_of)
    step("Bringing the champion into this clone")
    current = ledger.champion(settings.promoter_url, model)
    if current is None:
        raise EvergreenError("The gate promoted nothing. `evergreen model history` says why.")
    manual.checkout(settings, current.version, force=False)
    step("Waiting for the API to serve it")
    api.wait_for(settings, current.version)
    step("Done\n")
    say(summary.champion(settings, model))
    say(oracle(settings, settings.folder / results.TRAINING))
    say(f"  all reports: {settings.site_url}")
    say(f"  API:         {settings.api_url}/docs")
    say(f"  Prefect:     {settings.prefect_api_url.removesuffix('/api')}")
    say(f"  MLflow:      {settings.mlflow_tracking_uri}")
    say(f"\nAsk the API for a score:\n{api.curl(settings, current)}")
    say(
        "\nNext: `make story` (the year that follows), `dvc repro` (nothing to do), `evergreen model "
        "history`, `evergreen down`."
    )


def story(settings: Settings, *, start: str, end: str, say: Callable[[str], None]) -> None:
    """The year after the demo's pin, window by window, as it would have been watched; then what was decided."""
    model = params.read(settings.folder / "params.yaml").model
    say(f"From {start} to {end}, window by window: everyone's scores, the verdict, and the retraining that it leads to.")
    run_deployment(settings, f"backfill/{model}", say, start=start, end=end)
    say(summary.window_lines(summary.windows(settings, model), model))
    say(f"\nThe same with its evidence: {settings.site_url}")


def run_deployment(settings: Settings, name: str, say: Callable[[str], None], **parameters: str) -> None:
    """Run a deployment to its end, as `evergreen run retrain` and the like do.

    Raises:
        EvergreenError: it did not complete; with its own words.
    """
    ended = follow.run(settings, name, parameters, say)
    if not ended.is_completed:
        raise EvergreenError(f"{name} did not complete. {ended.text()}")
    say(ended.text())


def oracle(settings: Settings, rows: Path) -> str:
    """The ROC-AUC of the simulated company's own probabilities on these rows, and how many rows that is."""
    import pyarrow.parquet as pq

    if not rows.exists():
        raise EvergreenError(f"{rows} is missing: run `dvc repro`, or `evergreen model checkout VERSION`.")
    table = pq.read_table(rows, columns=["customer_id", "snapshot_date", "churned"]).rename_columns({"churned": "label"})
    auc = load.oracle_auc(settings.load_url, rows=table)
    return f"Oracle's ROC-AUC on {table.num_rows:,} rows of {rows}: {auc:.4f}"
