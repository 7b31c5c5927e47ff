"""`evergreen store backup` and `restore`: all that the stack decided and made, while it runs; into an empty place, and
nothing else.

The order makes it consistent. The ledger goes first: whatever it names was there before its row was, so what is copied after it
has all of that, and perhaps more. The source is the company's and is not in it, nor are passwords: those that are restored to
get new ones.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.execution import workspace
from infra.backup import archive, dumps
from infra.backup.archive import Writer
from infra.stack import postgres_server, processes, store
from infra.stack.programs import database_url
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger, roles

VERSION = 1  # raise it when an older Evergreen could not read what this one writes
REFS = ("refs/evergreen", "refs/tags/evergreen")
BUNDLE = "git.bundle"
# below home. Copies of bundles are among them: with these a rollback needs no MLflow
FOLDERS = ("mlflow/artifacts", "dvc/cache", "dvc/remote", "models", "site", "serving")
Say = Callable[[str], None]


def backup(settings: Settings, place: str, say: Say) -> None:
    """Write everything into a folder, or into one file whose name ends with .tar, .tar.gz or .tgz, which may be in a bucket.

    Raises:
        EvergreenError: it is there already, a database does not answer, or somebody collects or erases meanwhile.
    """
    with archive.local_draft(place, settings.home) as path:
        _backup(settings, path, say)
    say(f"It is {place}.")


def _backup(settings: Settings, path: Path, say: Say) -> None:
    manifest: dict[str, Any] = {
        "version": VERSION,
        "made_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "databases": list(_databases(settings)),
    }
    with (
        ledger.keeping_lock(settings.evergreen_url),
        archive.writing(path, manifest) as writer,
        tempfile.TemporaryDirectory(prefix="evergreen-backup-") as scratch,
    ):
        for name, url in _databases(settings).items():
            file = Path(scratch) / f"{name}.dump"
            dumps.dump(url, file, dumps.OURS if name == "evergreen" else None)
            writer.add(file, file.name)
            say(f"database {name}: {file.stat().st_size / 1e6:,.1f} MB")
        _add_folders(settings, writer, say)
        _add_refs(settings, writer, Path(scratch), say)
        manifest["models"] = ledger.models(settings.evergreen_url)
    for notice in _not_in_it(settings):
        say(notice)
    say(
        f"{path.name} holds {len(writer.files):,} files, {writer.size / 1e6:,.1f} MB, "
        f"of {', '.join(manifest['models']) or 'no model'}."
    )


def restore(settings: Settings, place: str, say: Say) -> None:
    """Bring a backup into this clone's home, which must be empty, on this clone's own ports; start it with `evergreen up`.

    Raises:
        EvergreenError: home or a database is not empty, the backup is damaged, or a newer version of Evergreen made it.
    """
    _check_place(settings)
    staged = replace(settings, home=settings.home.with_name(f"{settings.home.name}.restoring"))
    shutil.rmtree(staged.home, ignore_errors=True)
    try:
        with archive.local_copy(place) as path:
            manifest = archive.unpack(path, staged.home)
        say(f"{place}, made {manifest['made_at']}: {len(manifest['files']):,} files, each as it was written")
        if manifest["version"] > VERSION:
            raise EvergreenError(f"A newer Evergreen made {place} (version {manifest['version']}): update this clone first.")
        with _databases_up(staged) as urls:
            _restore_databases(staged, urls, manifest["databases"], say)
        _settle(settings, staged, say)
    finally:
        shutil.rmtree(staged.home, ignore_errors=True)
    say("Now `evergreen up` starts it, and `evergreen deploy` puts this clone's flows up.")


def _databases(settings: Settings) -> dict[str, str]:
    """Name -> URL, the ledger first. Those of MLflow and Prefect where their servers are ours."""
    urls = {"evergreen": settings.evergreen_url}
    if settings.hosts(settings.mlflow_tracking_uri):
        urls["mlflow"] = database_url(settings, "mlflow")
    if settings.hosts(settings.prefect_api_url):
        urls["prefect"] = database_url(settings, "prefect")
    return urls


def _add_folders(settings: Settings, writer: Writer, say: Say) -> None:
    for name in FOLDERS:
        if (folder := settings.home / name).is_dir():
            before = writer.size
            writer.add_tree(folder, name)
            say(f"{name}: {(writer.size - before) / 1e6:,.1f} MB")


def _add_refs(settings: Settings, writer: Writer, scratch: Path, say: Say) -> None:
    """Git refs and tags of runs and versions, with all that they are made from."""
    refs = workspace.git(settings.folder, "for-each-ref", "--format=%(refname)", *REFS).splitlines()
    if refs:
        workspace.git(settings.folder, "bundle", "create", "--quiet", str(scratch / BUNDLE), *refs)
        writer.add(scratch / BUNDLE, BUNDLE)
        say(f"git: {len(refs)} refs of runs and versions")


def _not_in_it(settings: Settings) -> Iterator[str]:
    """What a person might think is in it."""
    yield "Not in it: the source database, and passwords."
    if not settings.hosts(settings.mlflow_tracking_uri):
        yield f"Not in it: MLflow at another host ({settings.mlflow_tracking_uri}), its database and artifacts."
    if not settings.hosts(settings.prefect_api_url):
        yield f"Not in it: Prefect at another host ({settings.prefect_api_url})."
    if not Path(settings.artifacts).is_relative_to(settings.home):
        yield f"Not in it: MLflow's artifacts in {settings.artifacts}."
    if settings.shares_remote:
        yield f"Not in it: the DVC remote {settings.dvc_remote}, which is outside of {settings.home}."
    url = settings.evergreen_url
    foreign = {
        model
        for model in ledger.models(url)
        for version in ledger.versions(url, model)
        if not workspace.has_commit(settings.folder, version.git_commit)
    }
    if foreign:
        yield f"Not in it: git refs of {', '.join(sorted(foreign))}, which were made in other clones: back those up as well."


def _check_place(settings: Settings) -> None:
    if settings.home.exists() and any(settings.home.iterdir()):
        raise EvergreenError(
            f"{settings.home} is not empty: a backup is restored into an empty home only. Set EVERGREEN_HOME in .env to "
            "another folder, or move this one away."
        )
    if settings.evergreen:
        for name, url in _databases(settings).items():
            _check_empty(name, url)
    elif not processes.is_free(settings.postgres_port):
        raise EvergreenError(f"Port {settings.postgres_port} is taken: set EVERGREEN_POSTGRES_PORT in .env to a free one.")


def _check_empty(name: str, url: str) -> None:
    """Refuse a database of the user's own that holds what a backup would bring; one that is missing is made."""
    taken = (
        "select to_regnamespace('evergreen') is not null"
        if name == "evergreen"
        else "select to_regclass('alembic_version') is not null"
    )
    try:
        with postgres.connect(url) as connection:
            row = connection.execute(taken).fetchone()
    except EvergreenError:
        if name == "evergreen":
            raise
        return
    if row and row[0]:
        raise EvergreenError(
            f"The database {name!r} beside EVERGREEN_URL is not empty: a backup is restored into empty ones only. Name another "
            "server in .env, or drop what is there, which an interrupted restore may have left."
        )


@contextmanager
def _databases_up(staged: Settings) -> Iterator[Mapping[str, str]]:
    """A Postgres for the length of restoring, with roles and empty databases of a new stack; the user's own is up already."""
    if staged.evergreen:
        if len(_databases(staged)) > 1:
            postgres_server.prepare_own(staged.evergreen)
        yield _databases(staged)
        return
    passwords = store.passwords(staged)
    with postgres_server.running(staged.home / "postgres", staged.postgres_port, passwords["postgres"], durable=True) as admin:
        postgres_server.prepare(admin, passwords)
        yield _databases(staged)


def _restore_databases(staged: Settings, urls: Mapping[str, str], names: list[Any], say: Say) -> None:
    for name in names:
        if name in urls:
            dumps.restore(urls[name], staged.home / f"{name}.dump")
            say(f"database {name} is restored")
        else:
            say(f"database {name} was left out: its server is at another host here")
    applied = ledger.migrate(staged.evergreen_url)
    roles.grant(staged.evergreen_url, roles.of(staged))
    if applied:
        say(f"schema evergreen was brought to {applied[-1]}")


def _settle(settings: Settings, staged: Settings, say: Say) -> None:
    """What was staged becomes the home, and the refs this clone's."""
    bundle = staged.home / BUNDLE
    if bundle.exists():
        specs = [f"{ref}/*:{ref}/*" for ref in REFS]
        workspace.git(settings.folder, "fetch", "--quiet", "--no-tags", str(bundle), *specs)
        bundle.unlink()
        say("git: refs of runs and versions are in this clone")
    for left in [*staged.home.glob("*.dump"), staged.home / archive.MANIFEST, staged.home / "postgres.log"]:
        left.unlink(missing_ok=True)
    store.stamp(staged.home)
    if settings.home.exists():
        settings.home.rmdir()
    staged.home.rename(settings.home)
