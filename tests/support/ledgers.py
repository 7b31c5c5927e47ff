"""Ledgers with versions in them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.registry import ledger

DECISION = {"actor": "tester", "reason": "because", "verdict": {"outcome": "promoted"}}


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


def register(url: str, digit: str, model: str = "churn") -> ledger.Version:
    """A version whose bundle has the digest `digit` * 64."""
    new = ledger.Registration(
        model=model,
        bundle_sha256=digit * 64,
        onnx_sha256=digit * 64,
        manifest={"model.onnx": digit * 64},
        data_manifest_sha256="d" * 64,
        params_sha256="e" * 64,
        git_commit="c0ffee",
        git_ref="refs/evergreen/runs/1",
        mlflow_run_id="run",
        mlflow_version=1,
        metrics={"roc_auc": 0.8},
    )
    return ledger.register_version(url, new)


def at_once(*calls):
    """Results of calls that start together; an EvergreenError counts as a result."""
    barrier = threading.Barrier(len(calls))

    def run(call):
        barrier.wait()
        try:
            return call()
        except EvergreenError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(run, calls))
