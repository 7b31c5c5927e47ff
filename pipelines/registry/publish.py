"""After the DAG: a bundle becomes a version, and a version perhaps the champion. The ledger first, MLflow after it.

Every step can be done again after a kill, and then does only what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError, TransientError
from pipelines.promotion.gate import Bundle, judge
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, mlflow_registry, reviews, schema

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.config.params import Params

ROUNDS = 10  # of promotions that overtake one another while the aliases are written


@dataclass(frozen=True, kw_only=True)
class Release:
    """What a run of the DAG left behind, and where it came from."""

    bundle: Path
    params: Path  # params.yaml, pinned
    query: Path  # training_set.sql
    reports: tuple[Path, ...]  # plots and pages that MLflow shows; files and folders
    git_commit: str
    git_ref: str
    site_url: str = ""  # of the report site, where the version's pages will be
    trials: tuple[Path, ...] = ()  # trials.json of each candidate, in a folder of its name
    ran: Mapping[str, str] = field(default_factory=dict)  # stage of another pool -> where it ran, and why there


def publish_version(url: str, tracking_uri: str, release: Release) -> ledger.Version:
    """MLflow run, registered version and ledger row of a bundle; the ones it has, if it was published before.

    Raises:
        EvergreenError: the bundle was changed since it was packaged, or is being published by somebody else;
            the ledger or MLflow is out of reach.
    """
    digests = bundle_digests(release.bundle)
    onnx_model.verify(release.bundle, digests)
    manifest, evaluation = _read(release.bundle / "manifest.json"), _read(release.bundle / "evaluation.json")
    model, key = manifest["model"], digests["manifest.json"]
    if found := ledger.find(url, model, key):
        _describe(tracking_uri, release, found, manifest, evaluation)
        return found
    with schema.locked(url, f"evergreen/publish/{model}", f"A version of {model!r} is being published already"):
        record = _record(release, manifest, evaluation)
        published = mlflow_registry.publish(tracking_uri, model=model, bundle=release.bundle, bundle_sha256=key, record=record)
        stage.fault("publish:registered")
        new = ledger.Registration(
            model=model,
            bundle_sha256=key,
            onnx_sha256=digests["model.onnx"],
            manifest=digests,
            data_manifest_sha256=manifest["data_manifest_sha256"],
            params_sha256=stage.sha256(release.params),
            git_commit=release.git_commit,
            git_ref=release.git_ref,
            mlflow_run_id=published.run_id,
            mlflow_version=published.version,
            metrics=_points(evaluation, evaluation["challenger"]) | _bounds(evaluation),
        )
        version = ledger.register_version(url, new)
        _describe(tracking_uri, release, version, manifest, evaluation)
        return version


def _describe(
    tracking_uri: str, release: Release, version: ledger.Version, manifest: Mapping[str, Any], evaluation: Mapping[str, Any]
) -> None:
    """What people read of a version in MLflow: its number is known when the ledger has it."""
    data, name = manifest["data"], f"v{version.version} {manifest['data']['as_of']} {manifest['candidate']}"
    figures = "; ".join(f"{metric} {figure}" for metric, figure in _shown(evaluation).items())
    report = f"{release.site_url}/{version.model}/v{version.version}/index.html"
    description = (
        f"**{version.model} v{version.version}**: {manifest['candidate']}, as of {data['as_of']}, {data['rows']:,} rows.\n\n"
        f"- Held out: {figures}\n"
        f"- [The version's report]({report})\n"
        f"- In the ledger: `evergreen model trace v{version.version}`, `evergreen model history`; git "
        f"commit {version.git_commit[:12]}\n"
        f'- `mlflow.pyfunc.load_model("models:/{version.model}/{version.mlflow_version}").predict(frame)` takes a frame of the '
        "training query's columns\n\n"
    ) + (release.bundle / "card.md").read_text(encoding="utf-8")
    published = mlflow_registry.Published(version.mlflow_run_id, version.mlflow_version)
    mlflow_registry.describe(tracking_uri, version.model, published, name=name, description=description)


def _shown(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """The challenger's metric and its gain over the baseline, with their intervals."""
    found, metric = evaluation["candidates"][evaluation["challenger"]], evaluation["metric"]
    figures = {metric: found["metrics"][metric], f"gain over {evaluation['baseline']}": found["against_baseline"]}
    return {
        name: f"{value['point']:.4f} [{value['low']:.4f}, {value['high']:.4f}]"
        for name, value in figures.items()
        if value["point"] is not None
    }


def bundle_digests(bundle: Path) -> dict[str, str]:
    """SHA-256 of every file that the bundle's manifest names, and of the manifest, which names the bundle."""
    manifest = bundle / "manifest.json"
    if not manifest.exists():
        raise EvergreenError(f"{bundle} holds no bundle: run `dvc repro`, or `evergreen model checkout VERSION`.")
    return {**_read(manifest)["files"], "manifest.json": stage.sha256(manifest)}


def fetch(tracking_uri: str, version: ledger.Version, cache: Path) -> Bundle:
    """A version's bundle, out of `cache` or else MLflow; in either case exactly what the ledger says.

    Raises:
        EvergreenError: MLflow is out of reach, or its files are not what was published.
    """
    folder = cache / version.bundle_sha256
    try:
        onnx_model.verify(folder, version.manifest)
    except EvergreenError:  # not there yet, or damaged
        onnx_model.verify(mlflow_registry.download(tracking_uri, version.mlflow_run_id, folder), version.manifest)
    return Bundle(folder, version.manifest)


def decide(
    url: str, tracking_uri: str, version: ledger.Version, rows: pa.Table, params: Params, *, cache: Path, actor: str
) -> Verdict:
    """Judge a version against the champion, write the decision into the ledger, and let MLflow's aliases follow.

    Where a person has the last word (promotion.mode), what would be promoted awaits review.

    Args:
        rows: those that the version was made from.
        cache: a folder for bundles, which may be thrown away.

    Raises:
        ledger.ChampionMovedError: somebody promoted meanwhile; nothing was changed.
        EvergreenError: the ledger or MLflow is out of reach, or a bundle is not what was published.
    """
    champion = ledger.champion(url, version.model)
    if champion and champion.version == version.version:  # decided before; a kill may have left the aliases behind
        moves = [row for row in ledger.history(url, version.model) if row.decision == "promoted"]
        verdict = Verdict.from_dict(moves[0].verdict)
    else:
        revision = champion.revision if champion else 0
        challenger = fetch(tracking_uri, version, cache)
        current = fetch(tracking_uri, champion, cache) if champion else None
        reuse = ledger.snapshot_reuse(url, version.model, challenger.snapshot, version=version.version, revision=revision)
        evaluation = _read(challenger.folder / "evaluation.json")
        verdict = judge(challenger, current, rows, evaluation, params, reuse=reuse)
        if verdict.outcome == "promoted" and params.promotion.mode == "review":
            verdict = reviews.awaiting(url, version, verdict, revision=revision, hours=params.promotion.review_hours)
        stage.fault("promote:judged")
        record_decision(url, version, verdict, revision=revision, actor=actor)
    reconcile(url, tracking_uri, version.model)
    said = {"gate": f"{verdict.outcome}: {verdict.headline}"}
    mlflow_registry.tag_version(tracking_uri, version.model, version.mlflow_version, said)
    return verdict


def record_decision(
    url: str, version: ledger.Version, verdict: Verdict, *, revision: int, actor: str
) -> ledger.Promotion | None:
    """The verdict as a row of the ledger; None for a rejection that is its newest row already.

    Args:
        revision: that of the champion the version was judged against; 0 for none.
    """
    decision: dict[str, Any] = {"actor": actor, "reason": verdict.headline, "verdict": verdict.to_dict()}
    stage.fault("promote:before")
    if verdict.outcome == "promoted":
        row: ledger.Promotion | None = ledger.promote(
            url, version.model, version.version, expected_revision=revision, **decision
        )
    else:
        row = ledger.record_rejection(url, version.model, version.version, revision=revision, **decision)
    stage.fault("promote:after")
    return row


def reconcile(url: str, tracking_uri: str, model: str) -> list[str]:
    """Make MLflow's aliases what the ledger says; returns what had to be changed.

    The ledger is read again after writing: of two that promote at once, the slower must not leave its older view.
    """
    changes: list[str] = []
    for _ in range(ROUNDS):
        champion, challenger = ledger.champion(url, model), ledger.challenger(url, model)
        made = mlflow_registry.set_aliases(
            tracking_uri,
            model,
            champion=champion.mlflow_version if champion else None,
            challenger=challenger.mlflow_version if challenger else None,
        )
        changes += made
        if not made:
            return changes
    raise TransientError(
        f"MLflow's aliases of {model!r} do not settle ({', '.join(changes)}): somebody else changes them. "
        "Publish or promote again, which settles them."
    )


def _record(release: Release, manifest: Mapping[str, Any], evaluation: Mapping[str, Any]) -> mlflow_registry.Record:
    data = manifest["data"]
    source = {
        "sql": release.query.read_text(encoding="utf-8"),
        "pin": {key: data[key] for key in ("as_of", "fingerprint", "binds")},
    }
    everyone = {
        f"{name}/{metric}": value for name in evaluation["candidates"] for metric, value in _points(evaluation, name).items()
    }
    return mlflow_registry.Record(
        params=dict(_flat(_yaml(release.params))),
        metrics=_points(evaluation, evaluation["challenger"]) | _bounds(evaluation) | everyone,
        lineage=mlflow_registry.Lineage(f"{manifest['model']} rows", manifest["data_manifest_sha256"], source),
        reports=release.reports,
        shown={
            "candidate": manifest["candidate"],
            "as of": str(data["as_of"]),
            "rows": f"{data['rows']:,}",
            "git commit": release.git_commit[:12],
            **_shown(evaluation),
        },
        trials=[trial for path in release.trials for trial in _trials(path.parent.name, _read(path))],
        tags={
            "evergreen.candidate": manifest["candidate"],
            "evergreen.git_ref": release.git_ref,
            "mlflow.source.git.commit": release.git_commit,
        }
        | {f"evergreen.ran.{stage.replace('@', '.')}": where for stage, where in release.ran.items()},  # MLflow takes no @
    )


def _trials(candidate: str, found: Mapping[str, Any]) -> Iterator[mlflow_registry.Trial]:
    """What tuning tried, of a candidate's trials.json."""
    for one in found["trials"]:
        yield mlflow_registry.Trial(
            candidate=candidate,
            number=one["number"],
            state=one["state"],
            params=one["params"],
            metric=found["metric"],
            folds=one["parts"],
            value=one["value"],
            is_best=one["number"] == found["best"],
        )


def _points(evaluation: Mapping[str, Any], candidate: str) -> dict[str, float]:
    figures = _figures(evaluation["candidates"][candidate])
    return {metric: value["point"] for metric, value in figures.items() if value["point"] is not None}


def _figures(candidate: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """On all rows, and as `newest.<metric>` on the newest snapshots, where there is a clock."""
    return candidate["metrics"] | {f"newest.{metric}": value for metric, value in candidate.get("newest", {}).items()}


def _bounds(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Ends of the challenger's intervals, and of its gain over the baseline."""
    challenger = evaluation["candidates"][evaluation["challenger"]]
    figures = {**_figures(challenger), "gain_over_baseline": challenger["against_baseline"]}
    ends = {f"{metric}.{end}": value[end] for metric, value in figures.items() for end in ("low", "high")}
    return {name: value for name, value in ends.items() if value is not None}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def _yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(path)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
