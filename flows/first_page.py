"""The first page of the report site: every model, from what the ledger says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flows.execution import workspace
from monitoring import estimate, live, store, timeline
from monitoring.reports import index
from monitoring.store import Performance, Verdict
from monitoring.timeline import WINDOW
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings, api_notes
from pipelines.config.stage import write_text
from pipelines.registry import ledger
from pipelines.scoring import predictions
from pipelines.statistics.resampling import Interval

MOVES = 100  # decisions on the first page
PAGES = {"drift.html": "drift", "bias.html": "bias", "classification.html": "classification"}


def write(settings: Settings) -> None:
    """The first page: every model of the ledger, from what it says."""
    config = params.read(settings.folder / "params.yaml")
    models = [_model(settings, name, config) for name in ledger.models(settings.watcher_url)]
    written_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    asked = [
        (kind, url)
        for model in models
        if model.now
        for kind, url in (("api", model.now.api), ("schedules", model.now.schedules))
    ]
    answers = {url: live.ASKED[kind](url) for kind, url in asked if url}
    write_text(settings.home / "site" / "index.html", index.index(models, written_at, answers))


def _model(settings: Settings, name: str, config: params.Params) -> timeline.Model:
    url = settings.watcher_url
    champion, verdicts = ledger.champion(url, name), store.verdicts(url, name)
    newest: dict[tuple[str, int], list[Performance]] = {}
    for performance in store.performances(url, name):
        newest.setdefault((performance.window_key, performance.version), []).append(performance)
    is_own, moves = name == config.model, _moves(settings, name)
    now = _now(settings, name, champion, is_own=is_own)
    metric = verdicts[-1].figures["metric"] if verdicts else config.evaluate.metric
    promised = {version.version: _reference(version, metric) for version in ledger.versions(url, name)}
    return timeline.Model(
        name=name,
        owner=config.owner if is_own else verdicts[-1].figures["owner"] if verdicts else "",
        metric=metric,
        champion=champion.version if champion else None,
        champion_link=f"{name}/v{champion.version}/index.html" if champion else "",
        reference=_reference(champion, metric),
        windows=[
            replace(
                window_view(settings, verdict, newest.get((verdict.window_key, verdict.version), []), metric),
                promised=promised[verdict.version],
            )
            for verdict in reversed(verdicts)
        ],
        moves=moves,
        retrainings=[_retraining(retraining) for retraining in store.retrainings(url, name)],
        next_command=_commands(name),
        now=now,
    )  # fmt: skip


def _now(settings: Settings, name: str, champion: ledger.Champion | None, *, is_own: bool) -> timeline.Now:
    """What runs now: since when the champion is one, the newest scoring, and where to ask for the API and the schedules."""
    url = settings.watcher_url
    moves = [row for row in ledger.history(url, name, MOVES) if row.decision == "promoted"]
    run = predictions.latest_run(url, name)
    api = settings.api_url if is_own else api_notes(settings.home).get(name, {}).get("url", "")
    return timeline.Now(
        asked_at=datetime.now(UTC),
        since=moves[0].created_at if moves else None,
        as_of=_pin(settings, champion) if champion else None,
        scored=(run.as_of, run.updated_at, run.row_count) if run else None,
        api=api,
        schedules=f"{settings.prefect_api_url}#{name}",
    )


def _commands(name: str) -> dict[str, str]:
    """What to type next."""
    return {
        "quarantine": f"prefect deployment run 'monitor/{name}' -p window={WINDOW} -p force=true --watch   # once it is fixed",
        "review": "evergreen model history   # then: evergreen model rollback --reason TEXT, or a look at the bias report",
        "retrain": f"prefect deployment run 'retrain/{name}' --watch",
        "rejected": "evergreen model history   # says why the challenger was rejected",
        "start": "evergreen run score && evergreen run monitor",
    }


def command(name: str, action: str, key: str) -> str:
    return _commands(name).get(action, "").replace(WINDOW, key)


def window_view(settings: Settings, verdict: Verdict, measured: list[Performance], metric: str) -> timeline.Window:
    folder = window_folder(settings, verdict.model, verdict.window_key)
    base = f"{verdict.model}/windows/{verdict.window_key}"
    links = {"page": f"{base}/index.html"} if (folder / "index.html").exists() else {}
    links |= {title: f"{base}/{name}" for name, title in PAGES.items() if (folder / name).exists()}
    links |= {"version": f"{verdict.model}/v{verdict.version}/index.html"}
    why, because = _why(verdict)
    links |= {
        f"bias of {key}": f"{verdict.model}/windows/{key}/bias.html"
        for key, _ in because
        if (window_folder(settings, verdict.model, key) / "bias.html").exists()
    }
    seen_from = verdict.figures.get("seen_from") or {}  # of a loss: its first window, and since when a retraining can see it
    return timeline.Window(
        key=verdict.window_key,
        version=verdict.version,
        rows=verdict.row_count,
        action=verdict.action,
        why=why,
        because=because,
        suppressed=verdict.suppressed,
        judged_on=verdict.judged_on,
        estimate=interval(verdict.figures["estimate"].get(metric), metric),
        performance=interval(measured[0].metrics.get(metric), metric) if measured else None,
        known=_known(verdict, measured),
        links=links,
        also=[wish for wish in verdict.asks if wish != verdict.action],
        shown_in=seen_from.get("window", ""),
        seen_from=seen_from.get("day", ""),
    )


def _why(verdict: Verdict) -> tuple[str, list[tuple[str, str]]]:
    """Why, by the window's own figures; and what was found in earlier ones, whose labels became mature with it."""
    key = verdict.window_key
    others = [(finding.window, finding.message) for finding in verdict.findings if finding.window not in ("", key)]
    if not others:
        return verdict.why.replace(f"{key}: ", ""), []
    of_window = [finding.message for finding in verdict.findings if finding.window in ("", key)]
    return " ".join(of_window[:3]) or "Nothing was found in this window itself.", others[:3]


def _known(verdict: Verdict, measured: list[Performance]) -> str:
    """What is known of a window's labels."""
    if not verdict.row_count:
        return "no rows, no labels"
    if not measured:
        return f"immature until {verdict.figures['final_on']}"
    now = measured[0]
    changed = f"; changed {len(measured) - 1} times, last on {now.judged_on}" if len(measured) > 1 else ""
    few = "" if now.metrics else "; too few for a figure"
    return f"{now.positives:,} of {now.labelled:,} labels positive{few}{changed}"


def _moves(settings: Settings, model: str) -> list[timeline.Move]:
    """The newest decisions of the promotion ledger, newest first, each with the date that its version was trained as of."""
    versions = {version.version: version for version in ledger.versions(settings.watcher_url, model)}
    rows = ledger.history(settings.watcher_url, model, MOVES)
    pins = {number: _pin(settings, versions[number]) for number in {row.to_version for row in rows}}
    return [
        timeline.Move(
            row.to_version, _decided(row), row.reason, f"{row.created_at:%Y-%m-%d %H:%M}", pins[row.to_version],
            f"{model}/v{row.to_version}/index.html",
        )
        for row in rows
    ]  # fmt: skip


def _decided(row: ledger.Promotion) -> str:
    """The decision; a rollback, which the ledger counts among promotions, and one that awaits a person, by their own names."""
    finding = str(row.verdict.get("finding", ""))
    return finding if finding in ("rolled back", "awaits review") else row.decision


def _pin(settings: Settings, version: ledger.Version) -> str | None:
    """As of when a version was trained; None for one of another clone, whose ref is not here."""
    try:
        return str(workspace.data_at(settings.folder, version.git_commit).as_of)
    except EvergreenError:
        return None


def _retraining(retraining: store.Retraining) -> tuple[str, str, str]:
    version = f": v{retraining.version}" if retraining.version else ""
    return retraining.cause or "", str(retraining.as_of or "newest"), f"{retraining.outcome or 'running'}{version}"


def _reference(version: ledger.Version | None, metric: str) -> Interval | None:
    """Of a version, as the ledger keeps it: on its newest snapshots, or on all rows where nothing else is known.

    Versions of earlier days have no interval there.
    """
    recorded = version.metrics if version else {}
    for name in (f"newest.{metric}", metric):
        if {name, f"{name}.low", f"{name}.high"} <= recorded.keys():
            return Interval(recorded[name], recorded[f"{name}.low"], recorded[f"{name}.high"])
    return None


def interval(figure: Mapping[str, float] | None, metric: str) -> Interval | None:
    """As it was recorded; verdicts of earlier days have estimates beyond what a metric can be."""
    return estimate.within(Interval(**figure), metric) if figure else None


def window_folder(settings: Settings, model: str, key: str) -> Path:
    return settings.home / "site" / model / "windows" / key
