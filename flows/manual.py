"""What a person does in a clone: publish what `dvc repro` made there, or bring a published version in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from flows import events, results
from flows.execution import workspace
from pipelines.config import params, stage
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.stage import write_text
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger
from pipelines.registry import publish as publishing


def publish(settings: Settings, say: Callable[[str], None]) -> tuple[ledger.Version, Verdict]:
    """Publish the clone's bundle, with all files that made it kept on a ref, and let the gate judge it.

    Raises:
        EvergreenError: the results are not those of the files as they are now.
    """
    if stale := _stale(settings):
        raise EvergreenError(f"What lies here was not made from these files and params: {', '.join(stale)}. Run `dvc repro`.")
    say("Publishing: MLflow run, version and ledger.")
    bundle = stage.sha256(settings.folder / results.BUNDLE / "manifest.json")
    commit, ref = workspace.snapshot_commit(settings.folder), f"refs/evergreen/runs/by-hand-{bundle[:12]}"
    workspace.git(settings.folder, "update-ref", ref, commit)
    model = params.read(settings.folder / "params.yaml").model
    with ledger.retraining_lock(settings.promoter_url, model):
        before = ledger.history(settings.promoter_url, model, 1)
        version = results.publish_results(settings, settings.folder, git_commit=commit, git_ref=ref)
        workspace.tag(settings.folder, version.model, version.version, version.git_ref)
        say(f"{version} is published. The gate compares it with the champion.")
        verdict = results.decide(settings, settings.folder, version, actor="evergreen model publish")
    say(f"Decided: {verdict.outcome}. Its reports and pages:")
    results.add_reports(settings, settings.folder, version)
    results.write_pages(settings, settings.folder, version, verdict)
    if verdict.finding == "awaits review":
        from flows import promote as review

        say(f"{version} awaits a person's answer: {review.begin(settings, version)}")
    _announce(settings, model, before, say)
    return version, verdict


def promote(settings: Settings, number: int, *, actor: str, reason: str, say: Callable[[str], None]) -> None:
    """Make a published version champion because a person says so: a way out, and the way back.

    Raises:
        EvergreenError: there is no such version, it is the champion, or its bundle is not what was published.
    """
    url, uri = settings.promoter_url, settings.mlflow_tracking_uri
    version = ledger.version(url, params.read(settings.folder / "params.yaml").model, number)
    say(f"Checking the files of {version}: what cannot be loaded must not serve.")
    publishing.fetch(uri, version, settings.home / "models")
    current, before = ledger.champion(url, version.model), ledger.history(url, version.model, 1)
    verdict = Verdict("by hand", f"{actor}: {reason}")
    publishing.record_decision(url, version, verdict, revision=current.revision if current else 0, actor=actor)
    say(f"{version} is the champion in the ledger, and the API follows within seconds. MLflow's aliases:")
    for change in publishing.reconcile(url, uri, version.model):
        say(f"  {change}")
    from flows import first_page

    say("The first page of the report site, and the event:")
    first_page.write(settings)
    _announce(settings, version.model, before, say)


def _announce(settings: Settings, model: str, before: list[ledger.Promotion], say: Callable[[str], None]) -> None:
    """Emit `promoted` if the ledger's newest row is a promotion that was not there before.

    The ledger needs no Prefect: without a server the promotion stands, and `say` gets a sentence that says so.
    """
    newest = ledger.history(settings.promoter_url, model, 1)
    if newest == before or newest[0].decision != "promoted":
        return
    try:
        events.announce_promotion(settings, newest[0])
    except EvergreenError as error:
        say(f"The promotion stands, and nobody was notified: {error}")


def checkout(settings: Settings, number: int, *, force: bool) -> list[str]:
    """Bring the params.yaml, dvc.lock and outputs of a version into the clone.

    Returns:
        Stages that `dvc repro` would run here all the same, because the clone's code or SQL is not the version's.

    Raises:
        EvergreenError: there is no such version, params.yaml has changes that nobody has committed, or the results are
            neither in the cache nor in the remote; the clone is then as it was.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    model = params.read(settings.folder / "params.yaml").model
    version = ledger.version(settings.promoter_url, model, number)
    if not force and "params.yaml" in workspace.changed_files(settings.folder):
        raise EvergreenError("params.yaml has uncommitted changes, which this would overwrite: commit them, or pass --force.")
    files: dict[Path, str | None] = {
        settings.folder / name: _file(settings, version, name) for name in ("params.yaml", "dvc.lock")
    }
    before = {path: path.read_text(encoding="utf-8") if path.exists() else None for path in files}
    _write(files)
    workspace.configure_dvc(settings.folder, settings)
    try:
        with Repo(str(settings.folder)) as repo:
            repo.fetch()
            repo.checkout(force=True)
            _remove_others(settings.folder / results.MODELS, params.read(settings.folder / "params.yaml").enabled)
    except DvcException as error:
        _write(before)
        raise EvergreenError(
            f"DVC could not bring {version} in: {error}. params.yaml and dvc.lock are as they were. "
            "Where `evergreen store gc` or "
            ""
            f"`evergreen store erase` took its rows away, `evergreen model rebuild {version}` makes "
            "it once more from the source."
        ) from None
    return _stale(settings)


def _stale(settings: Settings) -> list[str]:
    """Stages whose results are not those of the files as they lie here."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(settings.folder)) as repo:
            return sorted(repo.status())
    except DvcException as error:
        raise EvergreenError(f"DVC does not read this project: {error}") from None


def _remove_others(models: Path, enabled: list[str]) -> None:
    """Stages that read all models would take for an input what a candidate that is no longer enabled left here."""
    for folder in models.iterdir():
        if folder.is_dir() and folder.name not in enabled:
            shutil.rmtree(folder)


def _write(files: dict[Path, str | None]) -> None:
    """Whole files; None is no file."""
    for path, text in files.items():
        if text is None:
            path.unlink(missing_ok=True)
        else:
            write_text(path, text)


def _file(settings: Settings, version: ledger.Version, name: str) -> str:
    """What a file said in the run that made a version."""
    try:
        return workspace.git(settings.folder, "show", f"{version.git_ref}:{name}") + "\n"
    except EvergreenError:
        raise EvergreenError(
            f"{version.model} {version} was made in another clone, and its ref is not in this one. "
            f"Fetch it from there: `git fetch CLONE {version.git_ref}:{version.git_ref}`, then try again."
        ) from None
