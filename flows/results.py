"""What the flow and the CLI take from a finished DAG: the one place outside dvc.yaml that names its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitoring.reports import site
from monitoring.reports import verdict as verdict_page
from pipelines.config import params
from pipelines.config.settings import Settings
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, mlflow_registry, publish

PACKAGE = "package"  # the stage that makes the bundle: publication and gate wait for no other
BUNDLE = "bundle"
TRAINING = "data/training.parquet"
RECENCY = "data/recency.json"
SCHEMA = "data/schema.json"
SCORES = "evaluation/scores.parquet"
EVALUATION = "evaluation/evaluation.json"
PLOTS = "evaluation/plots"
MODEL_REPORTS = "reports/model"
VALIDATION_REPORT = "reports/validation"
LEAKAGE_REPORT = "reports/leakage"
REPORTS = "reports"
MODELS, TRIALS = "models", "trials.json"


def publish_results(
    settings: Settings, folder: Path, *, git_commit: str, git_ref: str, ran: Mapping[str, str] | None = None
) -> ledger.Version:
    """Publish the bundle that the DAG made in `folder`, with its plots, validation report and trials.

    Args:
        ran: stage of another pool -> where it ran, and why there.
    """
    config = params.read(folder / "params.yaml")
    release = publish.Release(
        bundle=folder / BUNDLE,
        params=folder / "params.yaml",
        query=folder / "sql" / config.data.dataset / "training_set.sql",
        reports=tuple(folder / path for path in (PLOTS, VALIDATION_REPORT, LEAKAGE_REPORT)),
        git_commit=git_commit,
        git_ref=git_ref,
        trials=tuple(path for name in config.enabled if (path := folder / MODELS / name / TRIALS).exists()),
        ran=ran or {},
        site_url=settings.site_url,
    )
    return publish.publish_version(settings.promoter_url, settings.mlflow_tracking_uri, release)


def decide(settings: Settings, folder: Path, version: ledger.Version, *, actor: str) -> Verdict:
    """Let the gate judge a published version on the rows in `folder`; the ledger and the aliases follow."""
    import pyarrow.parquet as pq

    config = params.read(folder / "params.yaml")
    rows = pq.read_table(folder / TRAINING)
    cache = settings.home / "models"
    return publish.decide(settings.promoter_url, settings.mlflow_tracking_uri, version, rows, config, cache=cache, actor=actor)


def add_reports(settings: Settings, folder: Path, version: ledger.Version) -> None:
    """Put the reports on the challenger beside what is published: nothing that is decided waits for them."""
    mlflow_registry.add_reports(settings.mlflow_tracking_uri, version.mlflow_run_id, folder / MODEL_REPORTS)


def links(settings: Settings, version: ledger.Version, run_id: str | None = None) -> dict[str, str]:
    """Where to look at a version: title -> address."""
    prefect = settings.prefect_api_url.removesuffix("/api")
    addresses = {
        "report": f"{settings.site_url}/{version.model}/v{version.version}/index.html",
        "mlflow": f"{settings.mlflow_tracking_uri}/#/models/{version.model}/versions/{version.mlflow_version}",
    }
    return addresses | ({"prefect": f"{prefect}/runs/flow-run/{run_id}"} if run_id else {})


def write_pages(
    settings: Settings, folder: Path, version: ledger.Version, verdict: Verdict, run_id: str | None = None, *, stages: str = ""
) -> None:
    """The version's pages on the report site, and the index.

    Args:
        where: Markdown about where the stages ran, and what became of the reports.
    """
    other_links = {title: address for title, address in links(settings, version, run_id).items() if title != "report"}
    site.write_version(
        settings.home / "site",
        version.model,
        version.version,
        verdict=verdict_page.pages(version.model, version.version, verdict),
        card="\n\n".join([(folder / BUNDLE / "card.md").read_text(encoding="utf-8"), stages]),
        reports={
            "reports": folder / MODEL_REPORTS,
            "data validation": folder / VALIDATION_REPORT,
            "leakage": folder / LEAKAGE_REPORT,
            "plots": folder / PLOTS,
        },
        links=other_links,
    )
    from flows import first_page  # and with it all that watches

    first_page.write(settings)


def replace_verdict(settings: Settings, model: str, version: int, verdict: Verdict) -> None:
    """A later verdict, a person's answer, on the pages of a version, and the index."""
    site.replace_verdict(settings.home / "site", model, version, verdict_page.pages(model, version, verdict))
    from flows import first_page

    first_page.write(settings)
