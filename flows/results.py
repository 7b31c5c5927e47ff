"""What the flow and the CLI take from a finished DAG: the one place outside dvc.yaml that names its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from monitoring import site
from pipelines import ledger, params, publish
from pipelines.settings import Settings
from pipelines.verdict import Verdict

BUNDLE = "bundle"
TRAIN = "data/train.parquet"
HELD_OUT = "data/test.parquet"
SCHEMA = "data/schema.json"
SCORES = "evaluation/scores.parquet"
EVALUATION = "evaluation/evaluation.json"
PLOTS = "evaluation/plots"
MODEL_REPORTS = "reports/model"
VALIDATION_REPORT = "reports/validation"
REPORTS = "reports"
MODELS, TRIALS = "models", "trials.json"


def publish_results(
    here: Settings, folder: Path, *, git_commit: str, git_ref: str, ran: Mapping[str, str] | None = None
) -> ledger.Version:
    """Publish the bundle that the DAG made in `folder`, with its plots, reports and trials.

    Args:
        ran: stage of another pool -> where it ran, and why there.
    """
    config = params.read(folder / "params.yaml")
    release = publish.Release(
        bundle=folder / BUNDLE,
        params=folder / "params.yaml",
        query=folder / "sql" / config.data.dataset / "training_set.sql",
        reports=tuple(folder / path for path in (PLOTS, MODEL_REPORTS, VALIDATION_REPORT)),
        git_commit=git_commit,
        git_ref=git_ref,
        trials=tuple(path for name in config.enabled if (path := folder / MODELS / name / TRIALS).exists()),
        ran=ran or {},
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


def write_pages(
    here: Settings, folder: Path, version: ledger.Version, verdict: Verdict, run_id: str | None = None, *, where: str = ""
) -> None:
    """The version's pages on the report site, and the index.

    Args:
        where: Markdown about where the stages ran.
    """
    elsewhere = {title: address for title, address in links(here, version, run_id).items() if title != "report"}
    site.write_version(
        here.home / "site",
        version.model,
        version.version,
        verdict=verdict.markdown(),
        card="\n\n".join([(folder / BUNDLE / "card.md").read_text(encoding="utf-8"), where]),
        reports={
            "reports": folder / MODEL_REPORTS,
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
