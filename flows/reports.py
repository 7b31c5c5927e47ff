"""From the ledger to the report site: the pages of a window."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from flows import first_page
from monitoring import labels, store
from monitoring.reference import SAMPLE
from monitoring.reports import window, window_pages
from monitoring.reports.columns import Columns
from monitoring.reports.window_pages import Rows
from monitoring.store import Performance, Verdict
from monitoring.subject import Subject, Watch
from monitoring.windows import Window
from pipelines.config.settings import Settings
from pipelines.config.stage import write_text
from pipelines.statistics.resampling import Interval

HOME = "../../../index.html"  # of the site, from a window's page


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
            first_page.window_folder(settings, watch.model, key) / "index.html", earlier, measured.get((key, earlier.version))
        ):
            write_window(settings, watch, earlier, full=full and is_judged)
    _retain(settings, watch.model, list(verdicts)[-watch.params.monitor.keep_reports :])
    first_page.write(settings)


def on_demand(settings: Settings, watch: Watch, key: str) -> str:
    """All pages of a window that was judged, made anew; the address of its own within the site."""
    verdict = store.window_of(watch.url, watch.model, key)
    for name in window.REPORTS:
        (first_page.window_folder(settings, watch.model, key) / name).unlink(missing_ok=True)
    folder = write_window(settings, watch, verdict, full=True)
    first_page.write(settings)
    return f"{(folder / 'index.html').relative_to(settings.home / 'site')}"


def address(settings: Settings, model: str, key: str) -> str:
    """Where a window's page is."""
    page = first_page.window_folder(settings, model, key) / "index.html"
    return f"{settings.site_url}/{page.relative_to(settings.home / 'site')}"


def write_window(settings: Settings, watch: Watch, verdict: Verdict, *, full: bool) -> Path:
    """The page of one window, with the reports beside it that are there or can be made; its folder."""
    folder = first_page.window_folder(settings, watch.model, verdict.window_key)
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


def _details(
    settings: Settings, watch: Watch, verdict: Verdict, subject: Subject, measured: list[Performance]
) -> window.Details:
    metric = verdict.figures["metric"]
    shown = first_page.window_view(settings, verdict, measured, metric)
    links = {f"version {verdict.version}": f"../../v{verdict.version}/index.html"} | _other_links(settings, verdict, subject)
    windows = f"{verdict.model}/windows/"
    links |= {title: address.replace(windows, "../") for title, address in shown.links.items() if title.startswith("bias of ")}
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
        next_command="" if verdict.suppressed else first_page.command(watch.model, verdict.action, verdict.window_key),
        reference=subject.reference.held_out,
        estimates=_intervals(verdict.figures["estimate"]),
        performance=_intervals(measured[0].metrics if measured else {}),
        findings=verdict.findings,
        statistics=statistics,
        drift=verdict.figures["drift"],
        judgements=[
            window.Judgement(
                performance.judged_on,
                performance.labelled,
                performance.positives,
                first_page.interval(performance.metrics.get(metric), metric),
            )
            for performance in reversed(measured)
        ],
    )


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


def _intervals(figures: Mapping[str, Mapping[str, float]]) -> dict[str, Interval]:
    return {name: interval for name, saved in figures.items() if (interval := first_page.interval(saved, name))}


def _retain(settings: Settings, model: str, kept: list[str]) -> None:
    """Take away the pages of windows that are no longer kept; the ledger keeps their verdicts."""
    folder = settings.home / "site" / model / "windows"
    for path in folder.iterdir() if folder.exists() else ():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path)
