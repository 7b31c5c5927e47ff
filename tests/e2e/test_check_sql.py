"""`evergreen data check-sql` on the local stack, whose own role may not make databases."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.check_sql.scratch import PREFIX
from infra.stack import postgres_server
from pipelines.config.settings import Settings
from pipelines.data import postgres
from tests.conftest import Project
from tests.support.clones import REPOSITORY, Clone

DATA = REPOSITORY.parent / "shared" / "data"
DOC = (REPOSITORY / "docs/explanation/point-in-time.md").read_text(encoding="utf-8")


def scratch_databases(settings: Settings) -> list[str]:
    with postgres.connect(settings.embedded_url("postgres", "postgres")) as connection:
        names = [name for (name,) in connection.execute("select datname from pg_database").fetchall()]
    assert postgres_server.OWNERS.keys() < {*names}
    return [name for name in names if name.startswith(PREFIX)]


def test_the_demo_is_proven_and_nothing_is_left(project: Project):
    said = project.clone.evergreen("data", "check-sql", "--as-of", "2024-12-31")
    assert "Time-safe" in said and "WRONG" not in said
    assert scratch_databases(project.settings) == []


@pytest.mark.long
def test_the_commands_of_the_worked_example_run(stack: Settings, tmp_path: Path):
    if not (DATA / "online_retail").exists():
        pytest.skip(f"{DATA} is not there: the shared data folder lies beside the project only on some machines")
    clone = Clone.make(tmp_path / "clone", (stack.folder / ".env").read_text())
    (block,) = re.findall(r"```bash\n(.*?)```", DOC, re.S)
    for command in block.splitlines():
        said = clone.run(
            "bash", "-c", command.replace("evergreen ", "python -m cli.app ").replace("../shared/data", str(DATA))
        ).stdout
    for line in re.search(r"```\n(Copying what.*?)```", DOC, re.S)[1].splitlines():
        assert line in said
    assert scratch_databases(stack) == []
