"""What the end-to-end tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from flows.execution import workspace
from flows.execution.workspace import git
from tests.support.clones import Clone


@pytest.fixture(scope="session")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Clone, str], dict[str, str]]:
    """Run the pin of a ref by `dvc repro` in a clone with an empty DVC cache and an empty remote.

    Gives the digests of what must be equal on one machine: everything but HTML and Data Docs.
    """

    def run(clone: Clone, ref: str) -> dict[str, str]:
        folder = tmp_path_factory.mktemp("by-hand")
        git(folder, "clone", "--quiet", str(clone.folder), "clone")
        other = Clone(folder / "clone")
        git(other.folder, "fetch", "--quiet", "origin", ref)
        git(other.folder, "checkout", "--quiet", "FETCH_HEAD")
        (other.folder / "dvc.lock").unlink()
        (other.folder / ".env").write_text((clone.folder / ".env").read_text())
        empty = replace(clone.settings, home=folder / "home", dvc_remote=str(folder / "remote"))
        workspace.configure_dvc(other.folder, empty)
        said = other.run("dvc", "repro").stdout
        assert said.count("Running stage '") == len(other.lock()), said
        return exact(other.lock())

    return run


def exact(lock: dict[str, dict[str, str]]) -> dict[str, str]:
    """Output -> digest, where it must be equal."""
    return {path: md5 for outs in lock.values() for path, md5 in outs.items() if not path.startswith("reports/")}
