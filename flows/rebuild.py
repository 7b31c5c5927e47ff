"""A version made once more, in a workspace of its own with an empty cache, and held against what was published.

From the source where that still gives the rows that were pinned. Where history under the pin was changed since, as late
corrections do, from the snapshot that the cache kept; nothing else of the cache is used.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from flows import lineage, results
from flows.execution import cached, dvc, workspace
from flows.execution.workspace import Workspace
from flows.facts import Facts
from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import extract
from pipelines.registry import ledger
from pipelines.registry.ledger import Version
from pipelines.registry.publish import bundle_digests

EXTRACT = "extract"
ROWS, MANIFEST, LEFT_OUT = "data/rows.parquet", "data/manifest.json", "data/left_out.json"
TOLERANCE = 1e-5  # of a probability: what another class of processor may add up otherwise
Say = Callable[[str], None]


@dataclass(frozen=True)
class Rebuilt:
    """What came of it.

    rows: of the snapshot, which both scored. largest: difference of two probabilities. changed: files of the bundle whose
    bytes are others. remade: whether the rows came from the source. lock_differs: whether the packages installed are not
    those of its time.
    """

    version: Version
    rows: int
    largest: float
    changed: tuple[str, ...]
    remade: bool
    lock_differs: bool

    @property
    def is_same(self) -> bool:
        """Whether it is the same model, to within what arithmetic may differ by."""
        return self.largest <= TOLERANCE


def rebuild(settings: Settings, model: str, number: int, say: Say) -> Rebuilt:
    """Make a version once more and compare it with the published one, on the same rows; nothing is published.

    Raises:
        EvergreenError: the version is not there or was made in another clone, it is being rebuilt already, the source has
            other rows and the snapshot is gone, or a stage fails.
    """
    version = ledger.version(settings.promoter_url, model, number)
    with ledger.rebuilding_lock(settings.promoter_url, model, number), lineage.source(settings, version) as source:
        published = Facts.of(settings, version)
        pin = extract.pin(source.url, source.queries, source.data, _day(published), count=False)
        is_remade = pin.fingerprint == published.data["fingerprint"]
        with _workspace(settings, version) as place:
            if not is_remade:
                say(
                    f"The source's rows as of {pin.as_of} are not those that {version} was made from (fingerprint "
                    f"{pin.fingerprint}, pinned {published.data['fingerprint']}): history was changed since. "
                    "It is rebuilt from the snapshot in the cache, not from the source."
                )
                _bring(settings, version, published.data["rows_sha256"], place)
            _run(settings, place, say, from_snapshot=not is_remade)
            return _compare(settings, published, place, is_remade)


def _day(published: Facts) -> str:
    return str(published.data["as_of"])


@contextmanager
def _workspace(settings: Settings, version: Version) -> Iterator[Workspace]:
    """The version's commit, with a cache of its own that is empty; gone afterwards."""
    place = workspace.create(settings, f"rebuild-{version.model}-{version}", version.git_commit)
    try:
        apart = replace(settings, home=place.folder / ".evergreen")
        workspace.configure_dvc(place.folder, apart)
        (place.folder / "dvc.lock").unlink(missing_ok=True)
        yield place
    finally:
        workspace.remove(place)


def _bring(settings: Settings, version: Version, rows_sha256: str, place: Workspace) -> None:
    """The snapshot that the version was made from, out of cache or remote, as the manifest says it is.

    Raises:
        EvergreenError: it is gone, or damaged.
    """
    outs = cached.outputs(settings.folder, version.git_commit)
    for path in (ROWS, MANIFEST):
        kept = cached.find(settings, outs.get(path, ""))
        if kept is None:
            raise EvergreenError(
                f"{version.model} {version} cannot be rebuilt: the source has other rows than it was made from, and its "
                f"snapshot ({path}) is neither in the cache nor in {settings.dvc_remote}. `evergreen store gc` removed it, "
                "or a person in it was erased (`evergreen store erase`). The published model is untouched."
            )
        (place.folder / path).parent.mkdir(exist_ok=True)
        shutil.copyfile(kept, place.folder / path)
    # only a page shows it, and versions of earlier days have none
    kept = cached.find(settings, outs[LEFT_OUT]) if LEFT_OUT in outs else None
    stage.write_text(place.folder / LEFT_OUT, kept.read_text(encoding="utf-8") if kept else "{}\n")
    if stage.sha256(place.folder / ROWS) != rows_sha256:
        raise EvergreenError(
            f"The snapshot of {version.model} {version} in the cache is damaged: its SHA-256 is not the manifest's. "
            f"Remove {cached.find(settings, outs[ROWS])}, and bring it back from the remote: "
            f"`evergreen model checkout {version}`."
        )


def _run(settings: Settings, place: Workspace, say: Say, *, from_snapshot: bool) -> None:
    """All stages that the bundle is made by, in order, none restored; what they say is told where one fails."""
    with dvc.runner(place.folder, os.environ | settings.environment()) as runner:
        needed = dvc.needed_by(runner.stages, results.PACKAGE)
        if from_snapshot:
            runner.record(EXTRACT)
            needed = [stage for stage in needed if stage.name != EXTRACT]
        for stage in needed:
            began = time.monotonic()
            runner.run(stage.name, lambda _: None)
            say(f"  {stage.name:<18} {time.monotonic() - began:5.1f} s")


def _compare(settings: Settings, published: Facts, place: Workspace, remade: bool) -> Rebuilt:
    import numpy as np
    import pyarrow.parquet as pq

    digests = bundle_digests(place.folder / results.BUNDLE)
    before = published.version.manifest
    changed = [name for name in sorted({*digests, *before}) if digests.get(name) != before.get(name)]
    rows = pq.read_table(place.folder / ROWS)
    scores = [
        onnx_model.load(folder, manifest).score(rows)
        for folder, manifest in ((place.folder / results.BUNDLE, digests), (published.bundle.folder, before))
    ]
    return Rebuilt(
        version=published.version,
        rows=rows.num_rows,
        largest=float(np.abs(scores[0] - scores[1]).max()),
        changed=tuple(changed),
        remade=remade,
        lock_differs=_lock(place.folder) != _lock(settings.folder),
    )


def _lock(folder: Path) -> bytes:
    path = folder / "requirements.lock"
    return path.read_bytes() if path.exists() else b""
