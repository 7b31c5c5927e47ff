"""Workspaces: what counts as a change of the clone, and what a run may leave in its git."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.execution import workspace
from flows.execution.workspace import git
from pipelines.config import params
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings

PARAMS = "data:\n  as_of: null # the pin\n  fingerprint: null\ntrain:\n  seed: 1\n"


@pytest.fixture
def clone(tmp_path: Path) -> Settings:
    folder = tmp_path / "clone"
    (folder / ".dvc").mkdir(parents=True)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "code.py").write_text("1\n")
    (folder / ".gitignore").write_text("/.evergreen/\n/data/\n")
    (folder / ".dvc" / ".gitignore").write_text("/config.local\n/tmp\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "begin")
    return Settings.load_from(folder, {})


def test_a_pin_and_its_lock_are_no_changes(clone: Settings) -> None:
    params.write_pin(clone.folder / "params.yaml", "2024-12-31", "abc")
    (clone.folder / "dvc.lock").write_text("stages: {}\n")
    assert workspace.changed_files(clone.folder) == []


def test_everything_else_is_and_is_named(clone: Settings) -> None:
    (clone.folder / "params.yaml").write_text(PARAMS.replace("seed: 1", "seed: 2"))
    (clone.folder / "code.py").write_text("2\n")
    (clone.folder / "new file.py").write_text("3\n")
    (clone.folder / "data").mkdir()
    (clone.folder / "data" / "ignored.parquet").touch()
    assert [name.strip('"') for name in workspace.changed_files(clone.folder)] == ["code.py", "params.yaml", "new file.py"]


def test_uncommitted_files_are_kept_without_touching_index_or_branch(clone: Settings) -> None:
    (clone.folder / "code.py").write_text("2\n")
    (clone.folder / "new.py").write_text("3\n")
    before = git(clone.folder, "status", "--porcelain"), git(clone.folder, "rev-parse", "main")
    commit = workspace.snapshot_commit(clone.folder)
    assert (git(clone.folder, "status", "--porcelain"), git(clone.folder, "rev-parse", "main")) == before
    assert git(clone.folder, "show", f"{commit}:code.py") == "2"
    assert git(clone.folder, "show", f"{commit}:new.py") == "3"


def test_a_run_commits_on_its_own_ref_only(clone: Settings) -> None:
    place = workspace.create(clone, "run-1", "HEAD")
    (place.folder / "params.yaml").write_text(PARAMS.replace("null # the pin", '"2024-12-31"'))
    commit = place.commit("pinned", "params.yaml")
    workspace.remove(place)
    assert not place.folder.exists()
    assert git(clone.folder, "rev-parse", "refs/evergreen/runs/run-1") == commit
    assert git(clone.folder, "for-each-ref", "--format=%(refname)", "refs/heads") == "refs/heads/main"
    assert git(clone.folder, "status", "--porcelain") == ""


def test_a_workspace_that_a_killed_run_left_is_made_anew(clone: Settings) -> None:
    left = workspace.create(clone, "run-1", "HEAD")
    (left.folder / "half.txt").touch()
    again = workspace.create(clone, "run-1", "HEAD")
    assert not (again.folder / "half.txt").exists()
    assert (again.folder / "code.py").exists()


def test_a_workspace_shares_cache_and_remote_by_absolute_paths(clone: Settings) -> None:
    place = workspace.create(clone, "run-1", "HEAD")
    config = (place.folder / ".dvc" / "config.local").read_text()
    assert f"dir = {clone.home / 'dvc' / 'cache'}" in config
    assert f"url = {clone.dvc_remote}" in config


def test_credentials_of_the_remote_are_kept_and_come_along(clone: Settings) -> None:
    own = clone.folder / ".dvc" / "config.local"
    own.parent.mkdir(exist_ok=True)
    own.write_text("['remote \"evergreen\"']\n    secret_access_key = very secret\n")
    workspace.configure_dvc(clone.folder, clone)
    place = workspace.create(clone, "run-1", "HEAD")
    for file in (own, place.folder / ".dvc" / "config.local"):
        assert "secret_access_key = very secret" in file.read_text()
        assert f"url = {clone.dvc_remote}" in file.read_text()


def test_a_person_who_signs_commits_is_not_asked_to(clone: Settings) -> None:
    workspace.git(clone.folder, "config", "commit.gpgsign", "true")
    workspace.git(clone.folder, "config", "tag.gpgsign", "true")
    place = workspace.create(clone, "run-1", "HEAD")
    place.commit("signed by nobody", "params.yaml")
    workspace.tag(clone.folder, "churn", 1, place.ref)
    assert workspace.git(clone.folder, "tag") == "evergreen/churn/v1"


def test_a_version_of_another_clone_has_its_tag_there(clone: Settings) -> None:
    workspace.tag(clone.folder, "churn", 1, "refs/evergreen/runs/elsewhere")
    assert workspace.git(clone.folder, "tag") == ""


def test_what_git_refuses_is_told_in_its_words(clone: Settings) -> None:
    with pytest.raises(EvergreenError, match=r"git worktree in .*invalid reference: no-such-commit"):
        workspace.create(clone, "run-1", "no-such-commit")
