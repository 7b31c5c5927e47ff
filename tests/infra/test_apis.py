"""The APIs of one stack: one a model, each clone's own, beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from infra.stack import apis, processes
from infra.stack import local as local_stack
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from tests.conftest import free_ports


@dataclass
class Stack:
    """Postgres, the site and the APIs of clones in `folder`, which share one home."""

    folder: Path
    lines: dict[str, str]
    said: list[str] = field(default_factory=list)

    def clone(self, name: str, model: str, **lines: str) -> Settings:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        (folder / ".env").write_text("".join(f"{key}='{value}'\n" for key, value in {**self.lines, **lines}.items()))
        (folder / "params.yaml").write_text(f"model: {model}\n")
        return Settings.load_from(folder, {})

    def up(self, clone: Settings) -> dict[str, str]:
        """Address of each API that the stack then says is ready, by program."""
        local_stack.up(clone, self.said.append)
        rows = [row for row in local_stack.status(clone) if row.program.startswith("api-")]
        assert {row.state for row in rows} <= {"ready"}
        return {row.program: row.address for row in rows}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    postgres, site = free_ports(2)
    lines = {
        "EVERGREEN_HOME": str(tmp_path / "home"), "EVERGREEN_POSTGRES_PORT": str(postgres),
        "EVERGREEN_SITE_URL": f"http://127.0.0.1:{site}", "PREFECT_API_URL": "http://prefect.invalid/api",
        "MLFLOW_TRACKING_URI": "http://mlflow.invalid",
    }  # fmt: skip
    made = Stack(tmp_path, lines)
    yield made
    local_stack.down(made.clone("any", "any"), lambda _: None)
    assert processes.belonging_to(tmp_path / "home") == []


def address() -> str:
    return f"http://127.0.0.1:{free_ports(1)[0]}"


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def test_each_clone_has_an_api_of_its_own_and_takes_it_along_to_another_model(stack: Stack) -> None:
    first, second = address(), address()
    churn = stack.clone("one", "churn", EVERGREEN_API_URL=first)
    assert stack.up(churn) == {"api-churn": first}
    both = stack.up(stack.clone("two", "subscribers", EVERGREEN_API_URL=second))
    assert both == {"api-churn": first, "api-subscribers": second}
    assert answers(first) and answers(second)
    assert stack.up(stack.clone("one", "invoices", EVERGREEN_API_URL=first)) == {
        "api-subscribers": second,
        "api-invoices": first,
    }
    assert answers(first)
    assert f"churn is not served any more: {churn.folder} serves another model" in stack.said
    local_stack.down(churn, print)
    assert not answers(first) and not answers(second)
    assert set(stack.up(stack.clone("two", "subscribers", EVERGREEN_API_URL=second))) == {"api-subscribers", "api-invoices"}


def test_a_clone_that_gives_another_address_is_served_there(stack: Stack) -> None:
    before, after = address(), address()
    stack.up(stack.clone("one", "churn", EVERGREEN_API_URL=before))
    assert stack.up(stack.clone("one", "churn", EVERGREEN_API_URL=after)) == {"api-churn": after}
    assert answers(after) and not answers(before)


def test_addresses_that_nobody_gave_are_found_one_after_the_other(stack: Stack) -> None:
    (stack.folder / "home").mkdir()
    urls = []
    for name in ("one", "two", "three"):
        clone = stack.clone(name, f"model-{name}")
        apis.claim(clone, print)
        urls.append(Settings.load_from(clone.folder, {}).api_url)
    assert urls == ["http://127.0.0.1:8000", "http://127.0.0.1:8001", "http://127.0.0.1:8002"]
    moved = stack.clone("one", "another")
    assert moved.api_url == "http://127.0.0.1:8000"


def test_what_another_clone_serves_is_not_taken_from_it(stack: Stack) -> None:
    (stack.folder / "home").mkdir()
    apis.claim(stack.clone("one", "churn"), print)
    with pytest.raises(EvergreenError, match=r"is where churn of .*one is served: give EVERGREEN_API_URL"):
        apis.claim(stack.clone("two", "subscribers", EVERGREEN_API_URL="http://127.0.0.1:8000"), print)
    with pytest.raises(EvergreenError, match=r"churn is served at http://127\.0\.0\.1:8000 by .*one"):
        apis.claim(stack.clone("two", "churn", EVERGREEN_API_URL="http://127.0.0.1:8123"), print)
    apis.claim(stack.clone("two", "churn"), stack.said.append)  # the same model at the same address: one serves both
    one = stack.folder / "one"
    assert stack.said == [f"churn is served at http://127.0.0.1:8000 by {one} already: that serves this clone as well"]
    assert [(one.model, Path(one.clone).name) for one in apis.noted(stack.folder / "home")] == [("churn", "one")]


def test_the_api_of_a_clone_that_is_gone_ends(stack: Stack) -> None:
    (stack.folder / "home").mkdir()
    gone = stack.clone("one", "churn")
    apis.claim(gone, print)
    for file in gone.folder.iterdir():
        file.unlink()
    gone.folder.rmdir()
    apis.claim(stack.clone("two", "subscribers"), stack.said.append)
    assert [one.model for one in apis.noted(stack.folder / "home")] == ["subscribers"]
    assert stack.said == [f"churn is not served any more: {gone.folder} is gone"]
