"""Back to an earlier champion, at once: by the ledger and the bundle's own files, without waiting for MLflow or Prefect.

MLflow's aliases, the first page and the event follow in a process of their own (`python -m flows.rollback`), which nobody waits
for; what it does not get done, `doctor` and the next promotion do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from pipelines import onnx_model
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.config.settings import load as load_settings
from pipelines.promotion.verdict import Verdict
from pipelines.registry import ledger, publish, tenures
from pipelines.registry.ledger import Promotion, Version

LOG = Path("logs") / "rollback.log"


def roll_back(settings: Settings, model: str, number: int | None, *, actor: str, reason: str) -> Promotion:
    """Make an earlier version champion, the one before the current champion by default; returns the ledger's row.

    Raises:
        EvergreenError: there is none, or its bundle is missing or not what was published; what there is is listed. The
            champion is as it was.
    """
    url, past = settings.promoter_url, tenures.read(settings.promoter_url, model)
    if not past:
        raise EvergreenError(
            f"{model!r} has no champion, so there is nothing to go back from. `evergreen model history` says why."
        )
    versions = ledger.versions(url, model)
    target = _target(past, versions, number)
    _check(settings, target, versions, past[-1].version)
    verdict = Verdict(tenures.ROLLED_BACK, f"{actor}: {reason}")
    row = publish.record_decision(url, target, verdict, revision=past[-1].revision, actor=actor)
    assert row  # a promotion is always a row of its own
    return row


def _target(past: list[tenures.Tenure], versions: list[Version], number: int | None) -> Version:
    current = past[-1].version
    if number is None:
        line = tenures.line_of(past)
        if len(line) < 2:
            raise EvergreenError(
                f"No champion came before v{current}, so there is nobody to go back to. "
                f"There is: {_listed(versions, current)}. Name one: `evergreen model rollback VERSION`."
            )
        number = line[-2]
    if number == current:
        raise EvergreenError(f"v{number} is the champion already, since revision {past[-1].revision}. Nothing was changed.")
    target = next((version for version in versions if version.version == number), None)
    if target is None:
        raise EvergreenError(f"There is no v{number} to go back to. There is: {_listed(versions, current)}.")
    return target


def _check(settings: Settings, target: Version, versions: list[Version], current: int) -> None:
    """Refuse a version that could not serve: what is not whole here must come whole from MLflow."""
    try:
        publish.fetch(settings.mlflow_tracking_uri, target, settings.home / "models")
    except EvergreenError as error:
        others = [version for version in versions if version.version != target.version]
        listed = "; ".join(f"{other} {_state(settings, other, current)}" for other in others) or "nothing else"
        raise EvergreenError(f"{target} cannot serve, so the champion stays v{current}. {error}\nThere is: {listed}.") from None


def _state(settings: Settings, version: Version, current: int) -> str:
    is_champion = " and is the champion" if version.version == current else ""
    try:
        onnx_model.verify(settings.home / "models" / version.bundle_sha256, version.manifest)
    except EvergreenError:
        return f"is not whole here, and MLflow was not asked{is_champion}"
    return f"is whole here{is_champion}"


def _listed(versions: list[Version], current: int) -> str:
    return ", ".join(f"{version} (the champion)" if version.version == current else str(version) for version in versions)


def announce_later(settings: Settings, row: Promotion) -> None:
    """Begin what nobody waits for: MLflow's aliases, the first page of the report site, and the event."""
    log = settings.home / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        subprocess.Popen(
            [sys.executable, "-m", "flows.rollback", json.dumps({"model": row.model, "revision": row.revision})],
            cwd=settings.folder,
            env=os.environ | settings.environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def announce(settings: Settings, model: str, revision: int, say: Callable[[str], None]) -> None:
    """Announce a promotion, and let MLflow's aliases and the first page follow it; each does so when another fails."""
    from flows import events, first_page

    history = ledger.history(settings.promoter_url, model)  # others may have promoted since
    row = next(row for row in history if (row.revision, row.decision) == (revision, "promoted"))

    def aliases() -> None:
        for change in publish.reconcile(settings.promoter_url, settings.mlflow_tracking_uri, model):
            say(f"MLflow: {change}")

    steps: tuple[Callable[[], object], ...] = (
        lambda: events.announce_promotion(settings, row),
        aliases,
        lambda: first_page.write(settings),
    )
    for step in steps:
        try:
            step()
        except EvergreenError as error:
            say(f"v{row.to_version} of {model!r} is champion all the same: {error}")


def main() -> None:
    asked = json.loads(sys.argv[1])
    announce(load_settings(), asked["model"], asked["revision"], lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
