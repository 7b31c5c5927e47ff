"""What the flow and the CLI take from a finished DAG: the one place outside dvc.yaml that names its outputs."""

from __future__ import annotations

from pathlib import Path

from monitoring import site
from pipelines import ledger, params, publish
from pipelines.settings import Settings
from pipelines.verdict import Verdict

BUNDLE = "bundle"
HELD_OUT = "data/test.parquet"
PLOTS = "evaluation/plots"
AUDIT_REPORT = "reports/audit.html"
VALIDATION_REPORT = "reports/validation"
REPORTS = "reports"


def publish_results(here: Settings, folder: Path, *, git_commit: str, git_ref: str) -> ledger.Version:
    """Publish the bundle that the DAG made in `folder`, with its plots and reports."""
    config = params.read(folder / "params.yaml")
    release = publish.Release(
        bundle=folder / BUNDLE,
        params=folder / "params.yaml",
        query=folder / "sql" / config.data.dataset / "training_set.sql",
        reports=tuple(folder / path for path in (PLOTS, AUDIT_REPORT, VALIDATION_REPORT)),
        git_commit=git_commit,
        git_ref=git_ref,
    )
    return publish.publish_version(here.evergreen_url, here.mlflow_tracking_uri, release)


def decide(here: Settings, folder: Path, version: ledger.Version, *, actor: str) -> Verdict:
    """Let the gate judge a published version on the rows that `folder` holds out; the ledger and the aliases follow."""
    import pyarrow.parquet as pq

    config = params.read(folder / "params.yaml")
    rows = pq.read_table(folder / HELD_OUT)
    cache = here.home / "models"
    return publish.decide(here.evergreen_url, here.mlflow_tracking_uri, version, rows, config, cache=cache, actor=actor)


def links(here: Settings, version: ledger.Version, run_id: str | None = None) -> dict[str, str]:
    """Where to look at a version: title -> address."""
    prefect = here.prefect_api_url.removesuffix("/api")
    found = {
        "report": f"{here.site_url}/{version.model}/v{version.version}/index.html",
        "mlflow": f"{here.mlflow_tracking_uri}/#/models/{version.model}/versions/{version.mlflow_version}",
    }
    return found | ({"prefect": f"{prefect}/runs/flow-run/{run_id}"} if run_id else {})


def write_pages(here: Settings, folder: Path, version: ledger.Version, verdict: Verdict, run_id: str | None = None) -> None:
    """The version's pages on the report site, and the index."""
    elsewhere = {title: address for title, address in links(here, version, run_id).items() if title != "report"}
    site.write_version(
        here.home / "site",
        version.model,
        version.version,
        verdict=verdict.markdown(),
        card=(folder / BUNDLE / "card.md").read_text(encoding="utf-8"),
        reports={
            "bias audit": folder / AUDIT_REPORT,
            "data validation": folder / VALIDATION_REPORT,
            "plots": folder / PLOTS,
        },
        links=elsewhere,
    )
    write_index(here)


def write_index(here: Settings) -> None:
    """The report site's first page, from the ledger."""
    decisions = []
    for model in ledger.models(here.evergreen_url):
        reigning = ledger.champion(here.evergreen_url, model)
        for row in ledger.history(here.evergreen_url, model):
            is_champion = reigning is not None and reigning.version == row.to_version
            decisions.append((row.sequence, _shown(row, is_champion)))
    site.write_index(here.home / "site", [decision for _, decision in sorted(decisions, key=lambda one: one[0], reverse=True)])


def _shown(row: ledger.Promotion, is_champion: bool) -> site.Decision:
    made_at = f"{row.created_at:%Y-%m-%d %H:%M}"
    return site.Decision(row.model, row.to_version, row.decision, row.reason, made_at, is_champion)
