"""What is loaded and learnt from is what was published and extracted: a bundle and rows, each tampered with in every way."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from pipelines import onnx_model
from pipelines.config import stage
from pipelines.config.errors import EvergreenError
from pipelines.validation import validate
from studies.selftest import Asked, Claim, world


def claims(asked: Asked) -> Iterator[Claim]:
    """The bundle as it was published loads; with a file changed, missing, added or linked it does not. So do rows."""
    with tempfile.TemporaryDirectory() as name:
        maker = world.Maker(world.settings(asked.params), Path(name))
        bundle = maker.fit(world.rows(1, 500), world.KNOWN, "published").folder
        digests = {path.name: stage.sha256(path) for path in bundle.iterdir()}
        yield Claim("the bundle as it was published loads", not _refusal(bundle, digests), "it did")
        for number, (what, (file, tamper)) in enumerate(TAMPERED.items()):
            copy = Path(name) / f"copy-{number}"
            shutil.copytree(bundle, copy)
            tamper(copy / file)
            refused = _refusal(copy, digests)
            yield Claim(
                f"a bundle with {what} is refused by its name", file in refused, refused.replace(name, "") or "it was loaded"
            )
    yield _rows(asked)


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _link(file: Path) -> None:
    kept = file.with_name("..elsewhere")
    file.rename(file.parent.parent / f"{file.parent.name}{kept.name}")
    file.symlink_to(file.parent.parent / f"{file.parent.name}{kept.name}")


TAMPERED: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a flipped bit": ("model.onnx", _flip),
    "a file too few": ("schema.json", Path.unlink),
    "a file too many": ("extra.pkl", lambda file: file.write_bytes(b"\x80\x04.")),
    "a link in a file's place": ("decision.json", _link),
}


def _refusal(folder: Path, digests: dict[str, str]) -> str:
    try:
        onnx_model.load(folder, digests)
    except EvergreenError as error:
        return str(error)
    return ""


def _rows(asked: Asked) -> Claim:
    """Of a file that is not the manifest's nothing is learnt."""
    rows = world.rows(2, 1000)
    file = io.BytesIO()
    pq.write_table(rows, file)
    params = world.settings(asked.params)
    digests = [hashlib.sha256(content).hexdigest() for content in (file.getvalue(), file.getvalue()[:-1])]
    described = {"rows": rows.num_rows, "columns": dict.fromkeys(rows.column_names, ""), "rows_sha256": digests[0]}
    red = []
    for digest in digests:
        checks = validate.judge_rows(file, [], params, described | {"digest": digest}).checks
        red.append(any(check.kind == "manifest" and not check.success for check in checks))
    return Claim("rows that are not those of the manifest are refused", red == [False, True], json.dumps(red))
