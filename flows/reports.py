"""From the ledger to the report site: the first page, and the pages of a window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows.execution import workspace
from monitoring import estimate, labels, live, store, timeline
from monitoring.reference import SAMPLE
from monitoring.reports import index, window, window_pages
from monitoring.reports.columns import Columns
from monitoring.reports.window_pages import Rows
from monitoring.store import Performance, Verdict
from monitoring.subject import Subject, Watch
from monitoring.timeline import WINDOW
from monitoring.windows import Window
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings, api_notes
from pipelines.config.stage import write_text
from pipelines.registry import ledger
from pipelines.scoring import predictions
from pipelines.statistics.resampling import Interval

HOME = "../../../index.html"  # of the site, from a window's page
MOVES = 100  # decisions on the first page
PAGES = {"drift.html": "drift", "bias.html": "bias", "classification.html": "classification"}


def write(settings: Settings, watch: Watch, verdict: Verdict, *, full: bool = True) -> None:
    """The pages of a window and of the one whose labels were judged with it, of those that are behind, and the first page.

    Args:
        full: whether Evidently's reports of the former two are rendered, which takes seconds each.
    """
    verdicts = {earlier.window_key: earlier for earlier in store.verdicts(watch.url, watch.model)}
    measured = _newest(watch.url, watch.model)
    for key, earlier in list(verdicts.items())[-watch.params.monitor.keep_reports :]:
        is_judged = key in {verdict.window_key, verdict.matured}
        if is_judged or _is_behind(
            _folder(settings, watch.model, key) / "index.html", earlier, measured.get((key, earlier.version))
        ):
            write_window(settings, watch, earlier, full=full and is_judged)
    _retain(settings, watch.model, list(verdicts)[-watch.params.monitor.keep_reports :])
    write_index(settings)


def on_demand(settings: Settings, watch: Watch, key: str) -> str:
    """All pages of a window that was judged, made anew; the address of its own within the site."""
    verdict = store.window_of(watch.url, watch.model, key)
    for name in window.REPORTS:
        (_folder(settings, watch.model, key) / name).unlink(missing_ok=True)
    folder = write_window(settings, watch, verdict, full=True)
    write_index(settings)
    return f"{(folder / 'index.html').relative_to(settings.home / 'site')}"


def address(settings: Settings, model: str, key: str) -> str:
    """Where a window's page is."""
    return f"{settings.site_url}/{(_folder(settings, model, key) / 'index.html').relative_to(settings.home / 'site')}"


def write_window(settings: Settings, watch: Watch, verdict: Verdict, *, full: bool) -> Path:
    """The page of one window, with the reports beside it that are there or can be made; its folder."""
    folder = _folder(settings, watch.model, verdict.window_key)
    subject, measured = watch.subject_of(verdict.version), _measured(watch.url, verdict)
    details = _details(settings, watch, verdict, subject, measured)
    if full and verdict.row_count:
        watch.say(f"Rendering Evidently's reports of {verdict.window_key}, which takes seconds each.")
        for name, text in _reports(watch, details, folder, verdict, subject, measured).items():
            write_text(folder / name, text)
    existing = [name for name in window.REPORTS if (folder / name).exists()]
    write_text(folder / "index.html", window.page(details, existing))
    return folder


def _reports(
    watch: Watch, details: window.Details, folder: Path, verdict: Verdict, subject: Subject, measured: list[Performance]
) -> dict[str, str]:
    """The reports that are missing or behind what is known."""
    newest = measured[0] if measured and measured[0].metrics else None
    with_drift = _is_behind(folder / "drift.html", verdict, None)
    if newest and not _is_behind(folder / "classification.html", verdict, newest):
        newest = None
    rows = _rows(watch, verdict, subject, newest, with_drift=with_drift)
    audited = json.loads((subject.bundle.folder / "audit.json").read_text(encoding="utf-8"))["attributes"]
    shown = {name: [group["group"] for group in audited[name]] for name in audited if name not in _hidden(watch, subject)}
    return window_pages.render_window(
        details,
        rows,
        Columns.of(_visible(subject.reference.schema, _hidden(watch, subject)), shown),
        audit=newest.groups if newest else None,
        threshold=subject.reference.threshold,
        report_rows=watch.params.audit.report_rows,
        seed=watch.params.evaluate.seed,
    )


def _is_behind(page: Path, verdict: Verdict, measured: Performance | None) -> bool:
    """Whether a page is missing, or older than what it is to show."""
    newest = max([verdict.recorded_at, *([measured.recorded_at] if measured else [])])
    return not page.exists() or page.stat().st_mtime < newest.timestamp()


def _hidden(watch: Watch, subject: Subject) -> set[str]:
    """Columns that no page shows: those that were personal when the version was trained, and those that are today."""
    return subject.source.data.hidden | watch.params.data.hidden


def _visible(schema: Mapping[str, Any], hidden: set[str]) -> dict[str, Any]:
    numbers = [name for name in schema["numbers"] if name not in hidden]
    return {
        "numbers": numbers,
        "categories": {name: values for name, values in schema["categories"].items() if name not in hidden},
    }


def write_index(settings: Settings) -> None:
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
                _window(settings, verdict, newest.get((verdict.window_key, verdict.version), []), metric),
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


def _command(name: str, action: str, key: str) -> str:
    return _commands(name).get(action, "").replace(WINDOW, key)


def _window(settings: Settings, verdict: Verdict, measured: list[Performance], metric: str) -> timeline.Window:
    folder = _folder(settings, verdict.model, verdict.window_key)
    base = f"{verdict.model}/windows/{verdict.window_key}"
    links = {"page": f"{base}/index.html"} if (folder / "index.html").exists() else {}
    links |= {title: f"{base}/{name}" for name, title in PAGES.items() if (folder / name).exists()}
    links |= {"version": f"{verdict.model}/v{verdict.version}/index.html"}
    why, because = _why(verdict)
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
        estimate=_interval(verdict.figures["estimate"].get(metric), metric),
        performance=_interval(measured[0].metrics.get(metric), metric) if measured else None,
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


def _details(
    settings: Settings, watch: Watch, verdict: Verdict, subject: Subject, measured: list[Performance]
) -> window.Details:
    metric = verdict.figures["metric"]
    shown = _window(settings, verdict, measured, metric)
    links = {f"version {verdict.version}": f"../../v{verdict.version}/index.html"} | _other_links(settings, verdict, subject)
    nothing = float("nan")
    statistics = {
        name: {key: nothing if value is None else value for key, value in shares.items()}
        for name, shares in verdict.figures["statistics"].items()
    }
    return window.Details(
        model=watch.model,
        owner=verdict.figures["owner"],
        metric=metric,
        window=replace(shown, links=links),
        home=HOME,
        next_command=_command(watch.model, "suppressed" if verdict.suppressed else verdict.action, verdict.window_key),
        reference=subject.reference.held_out,
        estimates=_intervals(verdict.figures["estimate"]),
        performance=_intervals(measured[0].metrics if measured else {}),
        findings=verdict.findings,
        statistics=statistics,
        drift=verdict.figures["drift"],
        judgements=[
            window.Judgement(shares.judged_on, shares.labelled, shares.positives, _interval(shares.metrics.get(metric), metric))
            for shares in reversed(measured)
        ],
    )  # fmt: skip


def _other_links(settings: Settings, verdict: Verdict, subject: Subject) -> dict[str, str]:
    """Where else to look: the version in MLflow, the run that judged, and what Great Expectations said of the training rows."""
    version, prefect = subject.version, settings.prefect_api_url.removesuffix("/api")
    run = verdict.figures.get("judged_by")
    links = {"MLflow": f"{settings.mlflow_tracking_uri}/#/models/{version.model}/versions/{version.mlflow_version}"}
    links |= {"Prefect": f"{prefect}/runs/flow-run/{run}"} if run else {}
    return links | {"data docs": f"../../v{version.version}/validation/index.html"}


def _rows(watch: Watch, verdict: Verdict, subject: Subject, measured: Performance | None, *, with_drift: bool) -> Rows:
    """A bounded sample of the window, as the source gives it now, of the training rows, and of the window's mature labels."""
    size, seed = watch.params.audit.report_rows, watch.params.evaluate.seed
    stretch = Window(verdict.window_key, verdict.first_day, verdict.last_day)
    runs, hidden = watch.runs(stretch, verdict.version), _hidden(watch, subject)
    values: dict[str, Any] = {}
    drawn = subject.sample([run.as_of for run in runs], size, seed) if with_drift else None
    if drawn is not None:
        values["window"] = drawn.select([name for name in drawn.column_names if name not in hidden])
        values["window_rows"] = verdict.row_count
        training = pq.read_table(subject.bundle.folder / SAMPLE)
        values["training"] = training.select([name for name in training.column_names if name not in hidden])
        values["training_rows"] = subject.reference.training.rows
    if measured:
        rows = labels.sampled(subject.matured(runs, measured.judged_on), size, seed)
        values |= {"mature": labels.with_groups(subject, rows), "mature_rows": measured.labelled}
    return Rows(**values)


def _newest(url: str, model: str) -> dict[tuple[str, int], Performance]:
    """Window and version -> the newest judgement of its labels."""
    return {
        (performance.window_key, performance.version): performance for performance in reversed(store.performances(url, model))
    }


def _measured(url: str, verdict: Verdict) -> list[Performance]:
    """The judgements of its labels, newest first."""
    performances = store.performances(url, verdict.model, verdict.window_key, groups=True)
    return [performance for performance in performances if performance.version == verdict.version]


def _reference(version: ledger.Version | None, metric: str) -> Interval | None:
    """Of a version, as the ledger keeps it: on its newest snapshots, or on all rows where nothing else is known.

    Versions of earlier days have no interval there.
    """
    recorded = version.metrics if version else {}
    for name in (f"newest.{metric}", metric):
        if {name, f"{name}.low", f"{name}.high"} <= recorded.keys():
            return Interval(recorded[name], recorded[f"{name}.low"], recorded[f"{name}.high"])
    return None


def _intervals(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    return {name: interval for name, saved in figures.items() if (interval := _interval(saved, name))}


def _interval(figure: Mapping[str, float] | None, metric: str) -> Interval | None:
    """As it was recorded; verdicts of earlier days have estimates beyond what a metric can be."""
    return estimate.within(Interval(**figure), metric) if figure else None


def _folder(settings: Settings, model: str, key: str) -> Path:
    return settings.home / "site" / model / "windows" / key


def _retain(settings: Settings, model: str, kept: list[str]) -> None:
    """Take away the pages of windows that are no longer kept; the ledger keeps their verdicts."""
    folder = settings.home / "site" / model / "windows"
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path)
