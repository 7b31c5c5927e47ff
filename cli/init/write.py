"""The files of a dataset, written together: all of them or none, and nothing of a person's without leave."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from flows.execution.workspace import git
from pipelines.config.errors import EvergreenError

PARAMS = "params.yaml"
DEMO = "churn"  # the dataset of the params.yaml that the project comes with
OURS_ALREADY = {"demo", "schema"}  # folders below sql/ that are no datasets


def check_name(name: str) -> None:
    """The name is free for a dataset.

    Raises:
        EvergreenError: a folder of the project has it.
    """
    if name in OURS_ALREADY:
        raise EvergreenError(f"sql/{name} is part of the project: choose another name.")


def template(folder: Path, name: str, files: Mapping[str, str], *, force: bool) -> str:
    """The text of params.yaml to start from, if the files may be written.

    The demo's params.yaml, as it is committed but for the pin, is nobody's: git has it. Anything else is the person's.

    Args:
        files: names below sql/<name>/ that are to be written.
        force: a person's files may be overwritten.

    Raises:
        EvergreenError: the name is taken, or there are files of a person's.
    """
    check_name(name)
    params, committed = folder / PARAMS, _committed(folder)
    text = params.read_text(encoding="utf-8") if params.exists() else committed
    if text is None:
        raise EvergreenError(f"{PARAMS} is missing, here and in git: run this in a clone of the project.")
    existing = [f"sql/{name}/{file}" for file in files if (folder / "sql" / name / file).exists()]
    if params.exists() and not _is_demo(text, committed):
        existing.append(PARAMS)
    if existing and not force:
        raise EvergreenError(
            f"{', '.join(existing)} would be overwritten, so nothing was written. Commit what is to be kept, then pass --force."
        )
    return text


def together(files: Mapping[Path, str]) -> None:
    """Write whole files beside their places, then rename them in this order; on an error all are as before."""
    before = {path: path.read_bytes() if path.exists() else None for path in files}
    folders = [path.parent for path in files if not path.parent.exists()]
    staged = {path: path.with_name(f".{path.name}.{os.getpid()}.partial") for path in files}
    done: list[Path] = []
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with staged[path].open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for path, staging in staged.items():
            done.append(path)
            staging.rename(path)
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True) if before[path] is None else path.write_bytes(before[path])
        for staging in staged.values():
            staging.unlink(missing_ok=True)
        for folder in dict.fromkeys(folders):
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _committed(folder: Path) -> str | None:
    """params.yaml as of the clone's commit; None outside of git."""
    try:
        return git(folder, "show", f"HEAD:{PARAMS}") + "\n"
    except EvergreenError:
        return None


def _is_demo(text: str, committed: str | None) -> bool:
    return committed is not None and _unpinned(text) == _unpinned(committed) and f"\n  dataset: {DEMO} " in text


def _unpinned(text: str) -> str:
    """Without the pin, which commands set, and without what is not seen."""
    values = re.sub(r"^(  (?:as_of|fingerprint):) +\S+", r"\1 null", text, flags=re.MULTILINE)
    return "\n".join(" ".join(line.split()) for line in values.strip().splitlines())
