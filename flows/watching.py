"""A clone's model as it is watched: its versions, each by its own SQL out of git and its own verified bundle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date

from flows import lineage
from monitoring.subject import Say, Subject, Watch
from pipelines.config import params
from pipelines.config.settings import Settings
from pipelines.data import extract, postgres
from pipelines.registry import ledger, publish


@contextmanager
def watching(settings: Settings, say: Say, run_id: str = "") -> Iterator[Watch]:
    """What the clone's model is watched with; a version is read when it is first asked for."""
    config = params.read(settings.folder / "params.yaml")
    with ExitStack() as opened:
        yield Watch(settings.watcher_url, config, _subjects(settings, config.model, opened), say, run_id)


def complete_through(settings: Settings, watch: Watch) -> date | None:
    """The newest day that the source has complete; None for a table without a clock."""
    queries = extract.Queries(settings.folder / "sql" / watch.params.data.dataset)
    with postgres.snapshot(settings.source_url, watch.params.data.timezone) as opened:
        return extract.watermark(opened, queries)


def _subjects(settings: Settings, model: str, opened: ExitStack) -> Callable[[int], Subject]:
    subjects: dict[int, Subject] = {}

    def subject_of(number: int) -> Subject:
        if number not in subjects:
            version = ledger.version(settings.watcher_url, model, number)
            bundle = publish.fetch(settings.mlflow_tracking_uri, version, settings.home / "models")
            source = opened.enter_context(lineage.source(settings, version))
            subjects[number] = Subject(settings.watcher_url, version, source, bundle)
        return subjects[number]

    return subject_of
