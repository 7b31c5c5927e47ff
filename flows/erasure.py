"""Erasing a person: from scores, outcomes, the API's log, and every cached table that holds a row of theirs.

What stays, and why: the ledger's rows, which name versions and no person; the models, which learnt from the rows and hold none;
histograms, figures and the sample in a bundle, which have no key and no personal column, so that nobody can tell whose they
are; and the source, which is the company's. Each step can be done again after a kill, and then does what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from flows.execution import cached, workspace
from flows.execution.cached import Store
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.config.params import DataParams
from pipelines.config.settings import Settings
from pipelines.data import extract, postgres
from pipelines.registry import ledger, schema
from pipelines.registry.schema import query
from serving import records, spool

ROWS = "data/rows.parquet"
PARQUET = b"PAR1"
LONG_S = 6 * 3600  # no index leads to a person's scores
Say = Callable[[str], None]


@dataclass(frozen=True)
class Forgotten:
    """What was erased, or would be, and what remains.

    logged: lines of the API's log. files: cached tables and files of this clone. kept: files that hold a row and are not ours
    to delete. lost: versions whose snapshot is gone, so that they cannot be rebuilt any more. in_source: whether the source
    still has the person; None where it could not be asked.
    """

    predictions: int
    outcomes: int
    logged: int
    files: tuple[str, ...]
    kept: tuple[str, ...]
    lost: tuple[int, ...]
    in_source: bool | None


def preview(settings: Settings, model: str, data: DataParams, entity: str) -> Forgotten:
    """What `forget` would erase if it ran now. Nothing is changed."""
    names = _names(settings, model, data)
    keys = {entity, *_row_keys(settings, data, entity)}
    with postgres.connect(settings.evergreen_url, statement_timeout_s=LONG_S) as owner:
        of_keys = [query(owner, "count_entity", model=model, entity=key)[0] for key in keys]
    counted = {name: sum(each[name] for each in of_keys) for name in of_keys[0]}
    objects = list(_cached_rows(settings, names, entity))
    gone = {md5 for _, md5, _ in objects}  # of an object every copy holds the row
    held = {md5 for store in cached.stores(settings) for md5 in store.paths()}
    own_files = [str(path) for path in _own_files(settings, names, entity)]
    return Forgotten(
        **counted,
        logged=sum(_is_of(line, key) for line in spool.all_lines(_log(settings, model)) for key in keys),
        files=(*(f"{store.name} {md5}" for store, md5, _ in objects), *own_files),
        kept=tuple(path for path in _kept(settings, names, entity) if path not in own_files),
        lost=_lost(settings, model, held - gone),
        in_source=_is_in_source(settings, data, entity),
    )


def forget(settings: Settings, model: str, data: DataParams, entity: str, *, actor: str) -> Forgotten:
    """Erase a person from what this clone's model keeps. Done twice, the second time finds nothing.

    Args:
        data: of the clone's params.yaml; earlier versions may have called the entity otherwise.

    Raises:
        EvergreenError: a retraining or a scoring run is going on, whose rows would come after; or a store is out of reach.
    """
    url = settings.evergreen_url
    with ledger.retraining_lock(url, model), ledger.keeping_lock(url), ExitStack() as held:
        _hold_scoring(settings, model, held)
        keys = {entity, *_row_keys(settings, data, entity)}
        logged = sum(_erase_log(_log(settings, model), key) for key in keys)
        stage.fault("forget:log")
        predictions, outcomes = map(sum, zip(*(_erase_rows(settings, model, key) for key in keys), strict=True))
        stage.fault("forget:rows")
        names = _names(settings, model, data)
        files = [*_erase_cached(settings, names, entity), *_erase_files(settings, names, entity)]
        stage.fault("forget:files")
        lost, in_source = lost_versions(settings, model), _is_in_source(settings, data, entity)
        kept = _kept(settings, names, entity)
        if predictions or outcomes or logged or files:
            _note(settings, model, actor, predictions, outcomes, len(files), lost)
    return Forgotten(predictions, outcomes, logged, tuple(files), kept, lost, in_source)


def lost_versions(settings: Settings, model: str) -> tuple[int, ...]:
    """Versions whose rows neither cache nor remote holds any more; what was made in another clone is that clone's to know."""
    return _lost(settings, model, {md5 for store in cached.stores(settings) for md5 in store.paths()})


def _lost(settings: Settings, model: str, held: set[str]) -> tuple[int, ...]:
    lost = []
    for version in ledger.versions(settings.promoter_url, model):
        rows = cached.outputs(settings.folder, version.git_commit).get(ROWS)
        if rows is not None and rows not in held:
            lost.append(version.version)
    return tuple(sorted(lost))


def holds(file: Any, names: frozenset[str], entity: str) -> bool:
    """Whether a file is a Parquet table with a row of this entity, under any of the names of its key."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with file:
        if file.read(len(PARQUET)) != PARQUET:
            return False
        table = pq.ParquetFile(file)
        for name in names & set(table.schema_arrow.names):
            for batch in table.iter_batches(columns=[name]):
                if pc.any(pc.equal(batch[name].cast("string"), entity)).as_py():
                    return True
    return False


def _row_keys(settings: Settings, data: DataParams, entity: str) -> set[str]:
    """Keys of the person's rows, by which scores and log lines are kept where an entity has several and there is no clock: of
    the rows that the source and the tables of the cache and of this clone hold."""
    if data.row_key is None:
        return set()
    stored = (store.files.open(path, "rb") for store in cached.stores(settings) for path in store.paths().values())
    files = chain(stored, (path.open("rb") for path in _results(settings)))
    keys = {key for file in files for key in _keys_in(file, data.entity, data.row_key, entity)}
    queries, binds = extract.Queries(settings.folder / "sql" / data.dataset), dict.fromkeys(data.binds, 0) | {"as_of": None}
    with suppress(EvergreenError), postgres.snapshot(settings.source_url) as source:
        rows = postgres.bind(queries.training_set, binds)
        key, name = postgres.identifier(data.row_key), postgres.identifier(data.entity)
        wanted = f"select coalesce(array_agg({key}::text), '{{}}') from ({rows}) as rows"
        keys |= {*source.value(f"{wanted} where {name}::text = {postgres.literal(entity)}")}
    return keys


def _keys_in(file: Any, entity_column: str, key_column: str, entity: str) -> set[str]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with file:
        if file.read(len(PARQUET)) != PARQUET:
            return set()
        table = pq.ParquetFile(file)
        if not {entity_column, key_column} <= {*table.schema_arrow.names}:
            return set()
        rows = table.read(columns=[entity_column, key_column])
        of_entity = rows.filter(pc.equal(rows[entity_column].cast("string"), entity))
        return {*of_entity[key_column].cast("string").to_pylist()}


def _hold_scoring(settings: Settings, model: str, held: ExitStack) -> None:
    """Nobody writes a score of the model meanwhile: a run that goes on would bring the person back."""
    with postgres.connect(settings.evergreen_url) as owner:
        running = query(owner, "running_runs", model=model)
    for run in running:
        name = f"evergreen/score/{model}/v{run['version']}/{run['as_of']}"
        held.enter_context(schema.locked(settings.evergreen_url, name, f"The scoring run {run['run_key']} is going on"))


def _erase_log(folder: Path, entity: str) -> int:
    """Blank the lines of a person that the API has written and that may not be sent yet; how many."""

    count = 0
    while blanked := spool.blank(folder, lambda line: _is_of(line, entity)):
        count += blanked
    return count


def _log(settings: Settings, model: str) -> Path:
    return settings.home / "serving" / model / "log"


def _is_of(line: bytes, entity: str) -> bool:
    record = records.read(line)
    return record is not None and record.entity == entity


def _erase_rows(settings: Settings, model: str, entity: str) -> tuple[int, int]:
    """Scores and outcomes, in one transaction. A part of the log that is on its way arrives before, or is read anew after."""
    with postgres.connect(settings.evergreen_url, statement_timeout_s=LONG_S) as owner:
        owner.execute("lock table evergreen.log_segments in access exclusive mode")
        erased = query(owner, "erase_entity", model=model, entity=entity)[0]
    return erased["predictions"], erased["outcomes"]


def _names(settings: Settings, model: str, data: DataParams) -> frozenset[str]:
    """What the entity's column is or was called."""
    versions = ledger.versions(settings.promoter_url, model)
    commits = [version.git_commit for version in versions if workspace.has_commit(settings.folder, version.git_commit)]
    return frozenset({data.entity, *(workspace.data_at(settings.folder, commit).entity for commit in commits)})


def _erase_cached(settings: Settings, names: frozenset[str], entity: str) -> Iterator[str]:
    """Objects of cache and remote that hold a row of the person: a table cannot lose a row and keep its name."""
    for store, md5, path in _cached_rows(settings, names, entity):
        store.remove(path)
        yield f"{store.name} {md5}"


def _cached_rows(settings: Settings, names: frozenset[str], entity: str) -> Iterator[tuple[Store, str, str]]:
    for store in cached.stores(settings):
        for md5, path in store.paths().items():
            if not md5.endswith(cached.FOLDER) and holds(store.files.open(path, "rb"), names, entity):
                yield store, md5, path


def _erase_files(settings: Settings, names: frozenset[str], entity: str) -> Iterator[str]:
    for path in _own_files(settings, names, entity):
        path.unlink()
        yield str(path)


def _own_files(settings: Settings, names: frozenset[str], entity: str) -> Iterator[Path]:
    """Results with a row of the person that lie in this clone, and in workspaces that killed runs left."""
    return (path for path in _results(settings) if holds(path.open("rb"), names, entity))


def _kept(settings: Settings, names: frozenset[str], entity: str) -> tuple[str, ...]:
    return tuple(str(path) for path in _others(settings) if holds(path.open("rb"), names, entity))


def _results(settings: Settings) -> Iterator[Path]:
    lock = settings.folder / "dvc.lock"
    outs = [settings.folder / path for path in cached.outputs_of(lock.read_text(encoding="utf-8"))] if lock.exists() else []
    return _files([*outs, settings.home / "runs"])


def _others(settings: Settings) -> Iterator[Path]:
    """Tables that are not ours to delete: published ones, whose digests the ledger holds, and what people put there."""
    published = [settings.home / "models", settings.home / "mlflow", settings.home / "site"]
    passed = {settings.home, settings.folder / ".venv", settings.folder / ".git", settings.folder / ".dvc"}
    unpublished = [path for path in settings.folder.iterdir() if path not in passed]
    yield from (path for path in _files([*published, *unpublished]) if path.suffix == ".parquet")


def _files(roots: Sequence[Path]) -> Iterator[Path]:
    for root in roots:
        every = [root] if root.is_file() else root.rglob("*") if root.is_dir() else []
        yield from (path for path in every if path.is_file() and not path.is_symlink())


def _is_in_source(settings: Settings, data: DataParams, entity: str) -> bool | None:
    """Whether the training query, as of now, still gives a row of the person."""
    queries = extract.Queries(settings.folder / "sql" / data.dataset)
    try:
        with postgres.snapshot(settings.source_url, data.timezone) as source:
            binds = data.model_copy(update={"as_of": extract.watermark(source, queries)}).binds
            rows, name = postgres.bind(queries.training_set, binds), postgres.identifier(data.entity)
            wanted = postgres.literal(entity)
            return bool(source.value(f"select exists (select from ({rows}) as rows where {name}::text = {wanted})"))
    except EvergreenError:
        return None


def _note(
    settings: Settings, model: str, actor: str, predictions: int, outcomes: int, files: int, versions: Sequence[int]
) -> None:
    """That something was erased, and by whom; not who."""
    values = {"model": model, "kind": "entity", "actor": actor, "files": files, "versions": list(versions)}
    with postgres.connect(settings.evergreen_url) as owner:
        query(owner, "record_erasure", **values, predictions=predictions, outcomes=outcomes)
