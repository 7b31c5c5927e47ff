"""The graph as the flow reads it, and the process that runs its stages."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows.execution import dvc
from flows.execution.workspace import git
from pipelines.config.errors import EvergreenError
from tests.support.clones import REPOSITORY, bare_environment, wait_for

DVC_YAML = """
stages:
  second:
    cmd: cp first.txt second.txt
    deps: [first.txt]
    outs: [second.txt]
    meta: {pool: gpu}
  first:
    cmd: COMMAND
    params: [n]
    outs: [first.txt]
    meta: {retries: 2}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of two stages, written in the wrong order."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(f"[core]\n    analytics = false\n    site_cache_dir = {tmp_path / 'site'}\n")
    (tmp_path / "flows").symlink_to(REPOSITORY / "flows")
    (tmp_path / "pipelines").symlink_to(REPOSITORY / "pipelines")
    (tmp_path / "params.yaml").write_text("n: 1\n")
    write(tmp_path, "echo made by the first && echo 1 > first.txt")
    return tmp_path


def write(folder: Path, command: str) -> None:
    (folder / "dvc.yaml").write_text(DVC_YAML.replace("COMMAND", command))


def test_stages_come_after_those_they_depend_on_with_pool_and_retries(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        assert runner.stages == [dvc.Stage("first", "cpu", 2), dvc.Stage("second", "gpu", 0, needs=("first",))]


def test_a_stage_is_restored_where_its_results_are_known_and_else_not_run(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        assert not runner.restore("first", print)
        assert not (folder / "first.txt").exists()
        runner.run("first", print)
    (folder / "first.txt").unlink()
    (folder / "dvc.lock").unlink()
    with dvc.runner(folder, bare_environment()) as runner:
        assert runner.restore("first", print)
        assert (folder / "first.txt").read_text() == "1\n"
        assert "first:" in (folder / "dvc.lock").read_text()


def test_a_lock_file_that_another_runner_is_writing_is_read_again(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run("first", print)
    lock = folder / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(whole[: len(whole) // 2] + "  {")
    mended = threading.Timer(1.2, lock.write_text, [whole])
    mended.start()
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run_unrecorded("first", print)
    mended.join()


def test_a_stage_that_was_changed_is_not_restored(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run("first", print)
    (folder / "params.yaml").write_text("n: 2\n")
    with dvc.runner(folder, bare_environment()) as runner:
        assert not runner.restore("first", print)


def test_threads_take_turns(folder: Path) -> None:
    """Two orders on one line would mix their logs, and answer each other."""
    write(folder, "echo begun && sleep 1 && echo 1 > first.txt && echo ended")
    said: list[str] = []
    with dvc.runner(folder, bare_environment()) as runner, ThreadPoolExecutor() as pool:
        running = pool.submit(runner.run, "first", said.append)
        wait_for(lambda: "begun" in said, 10, "the first stage")
        with runner.still():
            assert "ended" in said
        assert running.result()


def test_a_runner_that_is_ended_fails_its_order(folder: Path) -> None:
    write(folder, "echo begun && exec sleep 600")
    said: list[str] = []
    with dvc.runner(folder, bare_environment()) as runner, ThreadPoolExecutor() as pool:
        running = pool.submit(runner.run, "first", said.append)
        wait_for(lambda: "begun" in said, 10, "the first stage")
        runner.end()
        with pytest.raises(dvc.StageError, match="was killed"):
            running.result(timeout=5)


def test_a_stage_runs_once_and_its_output_is_its_log(folder: Path) -> None:
    said: list[str] = []
    with dvc.runner(folder, bare_environment()) as runner:
        assert runner.run("first", said.append)
        assert "made by the first" in said
        assert not runner.run("first", said.append)
        assert runner.run("second", said.append)
    assert (folder / "second.txt").read_text() == "1\n"


def test_a_stage_that_fails_is_told_by_its_own_words(folder: Path) -> None:
    write(folder, "\"echo noise; echo 'ERROR: column age is missing'; echo 'Pin again.'; exit 1\"")
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(dvc.StageError) as failed:
        runner.run("first", lambda _: None)
    assert not isinstance(failed.value, dvc.TransientStageError)
    assert str(failed.value).startswith("Stage first failed. column age is missing\nPin again.")


def test_exit_code_75_says_that_running_again_can_help(folder: Path) -> None:
    write(folder, "test -e back && echo 2 > first.txt || exit 75")
    with dvc.runner(folder, bare_environment()) as runner:
        with pytest.raises(dvc.TransientStageError):
            runner.run("first", lambda _: None)
        (folder / "back").touch()
        assert runner.run("first", lambda _: None)


def test_a_stage_process_that_is_killed_is_named_and_leaves_no_stage(folder: Path) -> None:
    write(folder, "echo $$ > pid && kill -9 $PPID && exec sleep 600")
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(EvergreenError, match="was killed, or ran"):
        runner.run("first", lambda _: None)
    wait_for(lambda: not psutil.pid_exists(int((folder / "pid").read_text())), 5, "the end of the stage")


def test_nothing_of_a_stage_outlives_a_killed_flow(folder: Path) -> None:
    write(folder, "echo $$ > pid && sleep 600 && touch first.txt")
    flow = "import os; from pathlib import Path; from flows.execution import dvc\n"
    flow += "with dvc.runner(Path.cwd(), dict(os.environ)) as runner: runner.run('first', print)"
    killed = subprocess.Popen([sys.executable, "-c", flow], cwd=folder, env=bare_environment(), stdout=subprocess.DEVNULL)
    wait_for((folder / "pid").exists, 30, "the stage running")
    stage = wait_for(lambda: (folder / "pid").read_text().strip(), 5, "the stage's pid")
    family = psutil.Process(killed.pid).children(recursive=True)
    assert int(stage) in {process.pid for process in family}
    killed.kill()
    killed.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


@pytest.mark.parametrize("words", ["printf 'half a line'", "printf '\\0360\\n'", "env", "cat"])
def test_nothing_that_a_stage_prints_or_reads_is_taken_for_the_protocol(folder: Path, words: str) -> None:
    write(folder, f"{words}; exit 3")
    with dvc.runner(folder, bare_environment()) as runner:
        for _ in "twice":
            with pytest.raises(dvc.StageError, match="Stage first failed"):
                runner.run("first", lambda _: None)


def test_a_stage_that_was_killed_is_said_to_be(folder: Path) -> None:
    write(folder, "kill -9 $$")
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(dvc.StageError, match="ended by signal 9; out of mem"):
        runner.run("first", lambda _: None)


def test_a_dag_that_dvc_cannot_read_is_explained(folder: Path) -> None:
    (folder / "dvc.yaml").write_text("stages: [1")
    with (
        dvc.runner(folder, bare_environment()) as runner,
        pytest.raises(dvc.StageError, match=r"DVC does not read this project.*dvc\.yaml"),
    ):
        _ = runner.stages


def test_a_stage_that_others_need_cannot_run_beside_them(folder: Path) -> None:
    text = (folder / "dvc.yaml").read_text()
    (folder / "dvc.yaml").write_text(text.replace("meta: {retries: 2}", "meta: {beside: true}"))
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(dvc.StageError, match=r"need what first makes: take"):
        _ = runner.stages


def test_what_another_runner_made_meanwhile_is_recorded_as_if_it_had_been_run(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner, dvc.runner(folder, bare_environment()) as apart:
        runner.run("first", print)
        apart.run_unrecorded("second", print)
        assert "second:" not in (folder / "dvc.lock").read_text()
        runner.record("second", print)
        assert "second:" in (folder / "dvc.lock").read_text()
        assert not runner.run("second", print)
    (folder / "second.txt").unlink()
    (folder / "dvc.lock").unlink()
    with dvc.runner(folder, bare_environment()) as runner:  # an equal run elsewhere restores it
        assert runner.restore("first", print)
        assert runner.restore("second", print)
    assert (folder / "second.txt").read_text() == "1\n"


def test_an_unrecorded_run_fails_in_the_stages_own_words(folder: Path) -> None:
    write(folder, "\"echo 'ERROR: no room'; exit 1\"")
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(dvc.StageError, match=r"Stage first failed\. no room"):
        runner.run_unrecorded("first", print)


def test_a_runner_that_nobody_asks_anything_ends(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        process = runner._process
    assert process.returncode == 0
