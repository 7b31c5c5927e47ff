"""A folder of its own for every run: a git worktree at one commit, over the shared DVC cache.

What a run used (its pin) and what it made (dvc.lock) are committed on `refs/evergreen/runs/<id>`, never on a branch.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

# signing asks people for something, and hooks are meant for people
UNATTENDED = ["-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false", "-c", f"core.hooksPath={os.devnull}"]
AUTHOR = {
    "GIT_AUTHOR_NAME": "evergreen",
    "GIT_AUTHOR_EMAIL": "evergreen@localhost",
    "GIT_COMMITTER_NAME": "evergreen",
    "GIT_COMMITTER_EMAIL": "evergreen@localhost",
}


@dataclass(frozen=True)
class Workspace:
    """Where one run works."""

    folder: Path
    clone: Path
    run_id: str
    repository: str  # where git on another machine finds the clone

    @property
    def ref(self) -> str:
        return f"refs/evergreen/runs/{self.run_id}"

    def commit(self, message: str, *paths: str) -> str:
        """Commit `paths` of the workspace on the run's ref; returns the commit."""
        git(self.folder, "add", "--force", *paths)
        git(self.folder, "commit", "--quiet", "--no-verify", "--allow-empty", "--message", message)
        commit = git(self.folder, "rev-parse", "HEAD")
        git(self.clone, "update-ref", self.ref, commit)
        return commit


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Output of a git command.

    Raises:
        EvergreenError: git says no; with its words.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | AUTHOR
    done = subprocess.run(
        ["git", *UNATTENDED, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=variables | (environment or {}),
        check=False,
    )
    if done.returncode:
        raise EvergreenError(f"git {arguments[0]} in {folder}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def has_commit(clone: Path, commit: str) -> bool:
    """Whether a commit is in this clone."""
    try:
        git(clone, "cat-file", "-e", f"{commit}^{{commit}}")
    except EvergreenError:
        return False
    return True


def content(clone: Path, commit: str, path: str) -> bytes:
    """A file as a commit has it, byte for byte.

    Raises:
        EvergreenError: the commit is not in this clone, or has no such file.
    """
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=clone, capture_output=True, check=False)
    if done.returncode:
        raise EvergreenError(f"git show in {clone}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def at(settings: Settings, run_id: str) -> Workspace:
    """Where a run works, whether it is there or not."""
    return Workspace(settings.home / "runs" / run_id, settings.folder, run_id, settings.repository)


def create(settings: Settings, run_id: str, commit: str) -> Workspace:
    """A workspace below `<home>/runs` at `commit`; one that a killed run left behind is made anew."""
    place = at(settings, run_id)
    remove(place)
    place.folder.parent.mkdir(parents=True, exist_ok=True)
    git(settings.folder, "worktree", "add", "--quiet", "--force", "--detach", str(place.folder), commit)
    configure_dvc(place.folder, settings)
    return place


def remove(workspace: Workspace) -> None:
    """Take the folder away; what it made stays in the cache, and its commits on the run's ref."""
    shutil.rmtree(workspace.folder, ignore_errors=True)
    git(workspace.clone, "worktree", "prune")


def configure_dvc(folder: Path, settings: Settings) -> None:
    """Name cache and remote in `.dvc/config.local`, by absolute paths, which does not come along with a worktree.

    What else the clone's own file says, such as credentials of the remote, is kept.
    """
    from configobj import ConfigObj

    clone_file, target = settings.folder / ".dvc" / "config.local", folder / ".dvc" / "config.local"
    config = ConfigObj(str(clone_file) if clone_file.exists() else None, write_empty_values=True)
    config.filename = str(target)
    dvc = settings.home / "dvc"
    config.setdefault("core", {})["site_cache_dir"] = str(dvc / "site")
    config.setdefault("cache", {})["dir"] = str(dvc / "cache")
    config.setdefault('remote "evergreen"', {})["url"] = settings.dvc_remote
    target.parent.mkdir(exist_ok=True)
    target.touch(mode=0o600)
    config.write()


def changed_files(clone: Path) -> list[str]:
    """Files of the clone that differ from its commit, ignored ones aside.

    A pin and `dvc.lock` are what runs write, not what they are made from, so they do not count.
    """
    lines = git(clone, "status", "--porcelain", "--untracked-files=all", "--no-renames").splitlines()
    names = [line[2:].strip() for line in lines]  # the first line lost its leading blank with the output's ends
    return [name for name in names if name != "dvc.lock" and not (name == "params.yaml" and _only_pin_differs(clone))]


def params_at(clone: Path, commit: str) -> params.Params:
    """params.yaml as it is in a commit."""
    return params.parse(git(clone, "show", f"{commit}:params.yaml"), f"params.yaml at {commit[:12]}")


def data_at(clone: Path, commit: str) -> params.DataParams:
    """What the rows were in a commit, which may be of earlier days."""
    return params.parse_data(git(clone, "show", f"{commit}:params.yaml"), f"params.yaml at {commit[:12]}")


def _only_pin_differs(clone: Path) -> bool:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    def unpinned(text: str) -> Any:
        values = YAML(typ="safe").load(text)
        data = {name: value for name, value in values["data"].items() if name not in {"as_of", "fingerprint"}}
        return values | {"data": data}

    try:
        return unpinned((clone / "params.yaml").read_text(encoding="utf-8")) == unpinned(git(clone, "show", "HEAD:params.yaml"))
    except (YAMLError, KeyError, TypeError, AttributeError):
        return False  # whatever it is, it is more than a pin


def snapshot_commit(clone: Path) -> str:
    """A commit, on no branch, of the clone's files as they lie there; its index is left alone."""
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        git(clone, "read-tree", "HEAD", environment=index)
        git(clone, "add", "--all", environment=index)
        tree = git(clone, "write-tree", environment=index)
    return git(clone, "commit-tree", tree, "-p", "HEAD", "-m", "Uncommitted files, kept for a run that was asked to use them")


def tag(clone: Path, model: str, version: int, ref: str) -> None:
    """Name a version in git: `evergreen/<model>/v<version>`. One that was made in another clone has its tag there."""
    if git(clone, "for-each-ref", ref):
        git(clone, "tag", "--force", f"evergreen/{model}/v{version}", ref)
