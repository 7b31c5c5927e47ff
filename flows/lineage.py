"""What a version was made from: its own SQL and its own params, as git keeps them on its run's ref."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.execution import workspace
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data.extract import Queries
from pipelines.registry.ledger import Version
from pipelines.scoring.score import Source


@contextmanager
def source(settings: Settings, version: Version) -> Iterator[Source]:
    """The source as a version reads it: with the queries it was trained by, whatever the clone's are by now.

    Only outcomes.sql may be the clone's, where the version has none: it can be written when the first scores are due.

    Raises:
        EvergreenError: the version was made in another clone, and its ref is not in this one.
    """
    with tempfile.TemporaryDirectory(prefix="evergreen-sql-") as scratch:
        queries = Queries(Path(scratch))
        _require(settings, version)
        data = workspace.data_at(settings.folder, version.git_commit)
        folder = f"sql/{data.dataset}/"
        listed = workspace.git(settings.folder, "ls-tree", "--name-only", version.git_commit, folder).splitlines()
        for name in (name for name in listed if name.endswith(".sql")):
            text = workspace.git(settings.folder, "show", f"{version.git_commit}:{name}")
            (queries.folder / Path(name).name).write_text(text + "\n", encoding="utf-8")
        outcomes = settings.folder / folder / queries.outcomes.name
        if not queries.outcomes.exists() and outcomes.exists():
            shutil.copyfile(outcomes, queries.outcomes)
        yield Source(url=settings.source_url, queries=queries, data=data)


def _require(settings: Settings, version: Version) -> None:
    if not workspace.has_commit(settings.folder, version.git_commit):
        raise EvergreenError(
            f"{version.model} {version} was made in another clone, and its ref is not in this one, so its SQL is not known. "
            f"Fetch it from there: `git fetch CLONE {version.git_ref}:{version.git_ref}`, then try again."
        )
