"""The workflows, and the templates for a team's own project: of the published schemas, pinned, of commands that there are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack import programs

ROOT = Path(programs.__file__).parents[2]
GITHUB = [*sorted((ROOT / ".github" / "workflows").glob("*.yaml")), ROOT / "infra" / "ci" / "github.yaml"]
GITLAB = ROOT / "infra" / "ci" / "gitlab.yaml"


def judged(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", *options], capture_output=True, text=True, check=False
    )


def test_they_are_of_the_published_schemas() -> None:
    assert len(GITHUB) == 3
    for done in (
        judged("vendor.github-workflows", *GITHUB),
        judged("vendor.gitlab-ci", "--data-transform", "gitlab-ci", GITLAB),
    ):
        assert done.returncode == 0, done.stdout


def test_a_wrong_key_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(GITHUB[0].read_text("utf-8").replace("runs-on:", "runs_on:"), "utf-8")
    assert "runs_on" in judged("vendor.github-workflows", wrong).stdout


@pytest.mark.parametrize("file", GITHUB, ids=lambda path: path.name)
def test_actions_are_githubs_own_and_pinned_and_rights_are_the_least(file: Path) -> None:
    text = file.read_text("utf-8")
    for used in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", used), used
    assert re.search(r"^permissions: \{contents: read\}$", text, re.M)
    assert not re.search(r"run: .*\$\{\{ (github\.(head_ref|event\.pull_request)|inputs)", text)  # a title is no command
    assert "pull_request_target" not in text


def test_what_they_run_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for file in (*GITHUB, GITLAB):
        text = file.read_text("utf-8")
        for target in re.findall(r"(?:run: |&& |- )make ([a-z-]+)", text):
            assert f"\n{target}:" in makefile, (file, target)
        for path in re.findall(r"infra/[\w./-]+", text):
            assert (ROOT / path.rstrip("/")).exists(), (file, path)
    (prefect,) = set(re.findall(r"prefect==(\S+)", "".join(file.read_text("utf-8") for file in (*GITHUB, GITLAB))))
    assert f"\nprefect=={prefect} " in (ROOT / "requirements.lock").read_text("utf-8")
