"""`evergreen run retrain`, `score` and `monitor` run the clone's deployments and say how that ended; a refusal is one
sentence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.exceptions import ParameterTypeError

from flows import backfill, ending, monitor, promote, retrain, score
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.data import postgres
from pipelines.registry import ledger
from tests.conftest import AS_OF, Project
from tests.support.clones import Clone


@pytest.fixture(scope="module")
def fresh(stack: Settings, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that is deployed and has no champion."""
    clone = Clone.make(tmp_path_factory.mktemp("fresh") / "clone", (stack.folder / ".env").read_text(), {"model": "fresh"})
    clone.deploy()
    return clone


@pytest.fixture
def stray(fresh: Clone) -> Iterator[Path]:
    """A file that nobody has committed."""
    file = fresh.folder / "pipelines" / "stray.py"
    file.write_text("")
    yield file
    file.unlink()


@pytest.mark.usefixtures("stray")
def test_a_refusal_is_one_sentence_and_no_traceback(fresh: Clone) -> None:
    done = fresh.run("python", "-m", "cli.app", "run", "retrain", check=False)
    assert done.returncode == 1
    first, *_, last, address = done.stdout.splitlines()
    assert first.startswith("retrain/fresh is run ")
    assert last.startswith(f"Failed: {fresh.folder} has uncommitted files: pipelines/stray.py. Commit them and run")
    assert address == f"The run: {first.partition(': ')[2]}"  # where it is
    run = fresh.newest_run()
    assert run.state["message"].startswith(f"{fresh.folder} has uncommitted files")
    assert "Traceback" not in done.stdout + run.log()


@pytest.mark.usefixtures("stray")
def test_watched_by_prefects_own_command_it_says_the_same(fresh: Clone) -> None:
    done = fresh.run("prefect", "deployment", "run", "retrain/fresh", "--watch", check=False)
    assert done.returncode == 1
    said = "".join(done.stdout.partition("evergreen.ended")[2].split())  # the watch wraps lines as the terminal is wide
    assert f"{fresh.folder}hasuncommittedfiles:pipelines/stray.py.Commit" in said
    assert "Traceback" not in done.stdout


def test_what_a_task_refuses_is_one_sentence_too(fresh: Clone) -> None:
    done = fresh.run("python", "-m", "cli.app", "run", "score", check=False)
    assert done.returncode == 1
    assert "Failed: 'fresh' has no champion to score by" in done.stdout
    refused = fresh.run("python", "-m", "cli.app", "run", "retrain", "--as-of", "tomorrow", check=False)
    assert refused.returncode == 1
    assert refused.stdout.splitlines()[-1] == "ERROR: --as-of 'tomorrow' is not a date: write YYYY-MM-DD."
    assert "Traceback" not in done.stdout + refused.stdout


def test_a_date_that_is_none_is_told_before_anything_is_noted(fresh: Clone) -> None:
    fresh.retrain(succeeds=False, as_of="tomorrow")
    assert fresh.newest_run().state["message"] == "--as-of 'tomorrow' is not a date: write YYYY-MM-DD."
    assert "Traceback" not in fresh.newest_run().log()


def test_another_clone_does_not_run_it(fresh: Clone, stack: Settings, tmp_path: Path) -> None:
    other = Clone.make(tmp_path / "other", (stack.folder / ".env").read_text(), {"model": "fresh"})
    assert f"retrain/fresh works in {fresh.folder} (home {stack.home}), not in this clone" in other.evergreen(
        "run", "retrain", check=False
    )
    other.set_params({"model": "nowhere"})
    assert "has no deployment retrain/nowhere: run `evergreen deploy`" in other.evergreen("run", "retrain", check=False)


def test_who_is_refused_reads_which_run_holds_the_lock(ledger_url: str) -> None:
    ledger.migrate(ledger_url)
    postgres.work_as("retrain-2025-03-31 5d0a")
    try:
        with (
            ledger.retraining_lock(ledger_url, "churn"),
            pytest.raises(EvergreenError, match=r"already running \(by retrain-2025-03-31 5d0a, since 20.* UTC\)\. Wait"),
            ledger.retraining_lock(ledger_url, "churn"),
        ):
            pass
    finally:
        postgres.work_as("evergreen")


def test_our_own_error_is_the_end_of_a_run_and_any_other_is_raised() -> None:
    @ending.explained
    def body(error: Exception) -> None:
        raise error

    state = body(EvergreenError("The date is in the future."))
    assert (state.is_failed(), state.message) == (True, "The date is in the future.")
    with pytest.raises(ZeroDivisionError):
        body(ZeroDivisionError())


def test_parameters_are_checked_by_the_types_of_the_flow_itself() -> None:
    flows = {one: {} for one in (retrain.retrain, score.score, monitor.monitor, promote.promote)}
    for flow, given in (flows | {backfill.backfill: {"start": "2025-01-01", "end": "2025-02-01"}}).items():
        assert flow.validate_parameters(given).items() >= given.items()
    with pytest.raises(ParameterTypeError):
        retrain.retrain.validate_parameters({"without_worker": "sometimes"})


@pytest.mark.long
def test_a_retraining_ends_with_its_verdict_and_where_to_look(project: Project) -> None:
    said = project.clone.evergreen("run", "retrain", "--as-of", AS_OF)
    assert "] pin " in said and "] evaluate " in said
    *_, verdict, _ = said.splitlines()
    assert verdict.startswith("Promoted: churn v1, promoted: ")
    assert verdict.endswith(f"{project.settings.site_url}/churn/v1/index.html")
    said = project.clone.evergreen("run", "score", "--as-of", AS_OF)
    assert f" scores of {AS_OF} by churn v1 are complete" in said
    said = project.clone.evergreen("run", "monitor", "--window", "2024-12")
    assert "Completed: 2024-12: " in said
    assert f"{project.settings.site_url}/" in said.splitlines()[-2]
