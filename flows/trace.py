"""From a prediction or a version back to where it came from, each step held against what the one before says of it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from flows import results
from flows.execution import cached, workspace
from flows.facts import Facts
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger, tenures
from pipelines.registry.ledger import Version
from pipelines.registry.schema import query

# what the commits of a run, and those of files that nobody has committed, are called
OF_A_RUN = re.compile(r"(Pin|Results|Reports|Before stage \S+) of run |Uncommitted files, kept for a run")
VALIDATION, ROWS = "data/validation.json", "data/rows.parquet"


@dataclass(frozen=True)
class Step:
    """One thing on the way. `holds`: whether it is what the ledger or the manifest says; None where nothing says so."""

    what: str
    message: str
    holds: bool | None = None


def of_prediction(settings: Settings, model: str, identifier: str) -> tuple[Step, Version]:
    """A prediction of the ledger, and the version that made it.

    Raises:
        EvergreenError: that is no identifier, or nobody was told this prediction.
    """
    try:
        wanted = UUID(identifier)
    except ValueError:
        raise EvergreenError(f"{identifier!r} is neither a version, such as v3, nor the id of a prediction (a UUID).") from None
    with postgres.connect(settings.watcher_url) as connection:
        rows = query(connection, "prediction", prediction_id=wanted)
    if not rows:
        raise EvergreenError(f"No prediction {wanted} is in the ledger: it was never made, or it was erased.")
    prediction = rows[0]
    if prediction["model"] != model:
        raise EvergreenError(
            f"Prediction {wanted} is of {prediction['model']!r}, and this clone is {model!r}: ask in that clone."
        )
    decided = "positive" if prediction["decision"] else "negative"
    message = (
        f"{wanted}: {prediction['score']:.4f}, {decided}, of {prediction['entity']} on {prediction['as_of']}; "
        f"{prediction['source']} run {prediction['run_key']} ({prediction['state'] or 'kept beside it'}), "
        f"{prediction['scored_at']:%Y-%m-%d %H:%M:%S} UTC"
    )
    return Step("prediction", message), ledger.version(settings.promoter_url, model, prediction["version"])


def of_version(settings: Settings, version: Version) -> Iterator[Step]:
    """Version, bundle, run, data manifest, SQL, rows, validation, params and commit.

    Raises:
        EvergreenError: the bundle is neither whole here nor to be had from MLflow.
    """
    tenures_of = [tenure for tenure in tenures.read(settings.promoter_url, version.model) if tenure.version == version.version]
    active_periods = (
        "; ".join(f"champion of revision {tenure.revision} since {tenure.since:%Y-%m-%d %H:%M}" for tenure in tenures_of)
        or "never champion"
    )
    yield Step("version", f"{version.model} {version}, published {version.created_at:%Y-%m-%d %H:%M} UTC; {active_periods}")
    facts = Facts.of(settings, version)  # verified, or an error
    yield Step("bundle", f"{version.bundle_sha256}, {len(version.manifest)} files", True)
    yield Step("run", f"MLflow {version.mlflow_run_id}, {results.links(settings, version)['mlflow']}")
    yield _manifest(facts)
    if workspace.has_commit(settings.folder, version.git_commit):
        yield from _of_git(settings, facts)
    else:
        fetch = f"git fetch CLONE {version.git_ref}:{version.git_ref}"
        yield Step("commit", f"{version.git_commit}: made in another clone, so SQL and params are there. {fetch}")


def sql_of(settings: Settings, version: Version) -> str:
    """The text of the training query that a version was made by."""
    return workspace.content(settings.folder, version.git_commit, _query(settings, version)).decode()


def _manifest(facts: Facts) -> Step:
    text = json.dumps(facts.data, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    message = (
        f"data manifest {facts.version.data_manifest_sha256[:16]}: {facts.data['rows']:,} rows, {len(facts.data['columns'])} "
        f"columns, as of {facts.data['as_of']}, fingerprint {facts.data['fingerprint']}"
    )
    return Step("data", message, _sha256(text.encode()) == facts.version.data_manifest_sha256)


def _of_git(settings: Settings, facts: Facts) -> Iterator[Step]:
    version, commit = facts.version, facts.version.git_commit
    query_file = _query(settings, version)
    sql = workspace.content(settings.folder, commit, query_file)
    holds = _sha256(sql) == facts.data["sql_sha256"]
    yield Step("SQL", f"{query_file}, {len(sql.splitlines())} lines; `--sql` prints it", holds)
    outs = cached.outputs(settings.folder, commit)
    yield _rows(settings, facts, outs.get(ROWS, ""))
    yield _validation(settings, outs.get(VALIDATION, ""))
    params = workspace.content(settings.folder, commit, "params.yaml")
    yield Step("params", f"params.yaml {version.params_sha256[:16]}", _sha256(params) == version.params_sha256)
    commit_line = workspace.git(settings.folder, "log", "-1", "--format=%cI, %s", commit)
    yield Step("commit", f"{commit} ({commit_line}), on {version.git_ref}; the code is that of {_made_from(settings, commit)}")


def _rows(settings: Settings, facts: Facts, md5: str) -> Step:
    path = cached.find(settings, md5) if md5 else None
    if path is None:
        return Step("snapshot", "its rows are not in the cache any more; the source can give them again while it is as pinned")
    return Step("snapshot", f"{ROWS}, {path.stat().st_size:,} bytes", stage.sha256(path) == facts.data["rows_sha256"])


def _validation(settings: Settings, md5: str) -> Step:
    path = cached.find(settings, md5) if md5 else None
    if path is None:
        return Step("validation", "its verdict is not in the cache any more; it passed, or there would be no version")
    verdict = json.loads(path.read_text(encoding="utf-8"))
    passed = sum(check["success"] for check in verdict["checks"])
    message = f"{passed} of {len(verdict['checks'])} checks passed on {verdict['checked_rows']:,} rows"
    return Step("validation", message, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == md5)


def _made_from(settings: Settings, commit: str) -> str:
    """The newest commit behind it that no run made for itself."""
    lines = workspace.git(settings.folder, "log", "-50", "--format=%h %s", commit).splitlines()
    return next((line for line in lines if not OF_A_RUN.match(line.partition(" ")[2])), commit[:7])


def _query(settings: Settings, version: Version) -> str:
    return f"sql/{workspace.data_at(settings.folder, version.git_commit).dataset}/training_set.sql"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
