"""The graph as the flow reads it, and the processes of its stages."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from flows.execution import dvc
from flows.execution.workspace import git
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
    config = f"[core]\n    analytics = false\n    site_cache_dir = {tmp_path / 'site'}\n    remote = near\n"
    (tmp_path / ".dvc" / "config").write_text(config + f"['remote \"near\"']\n    url = {tmp_path / 'remote'}\n")
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
        assert not runner.restore("first")
        assert not (folder / "first.txt").exists()
        runner.run("first", print)
    (folder / "first.txt").unlink()
    (folder / "dvc.lock").unlink()
    with dvc.runner(folder, bare_environment()) as runner:
        assert runner.restore("first")
        assert (folder / "first.txt").read_text() == "1\n"
        assert "first:" in (folder / "dvc.lock").read_text()


def test_a_stage_that_was_changed_is_not_restored(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run("first", print)
    (folder / "params.yaml").write_text("n: 2\n")
    with dvc.runner(folder, bare_environment()) as runner:
        assert not runner.restore("first")


def test_commands_of_two_threads_take_turns_and_dvc_does_not_wait_for_them(folder: Path) -> None:
    write(folder, "echo started && sleep 1 && echo 1 > first.txt && echo ended")
    log: list[str] = []
    with dvc.runner(folder, bare_environment()) as runner, ThreadPoolExecutor() as pool:
        running = pool.submit(runner.run, "first", log.append)
        wait_for(lambda: "started" in log, 10, "the first stage")
        waiting = pool.submit(runner.run, "first", log.append)
        with runner.lock():
            assert not runner.restore("first")
        assert "ended" not in log
        assert running.result()
        assert not waiting.result()
    assert log == ["Running stage 'first':", "started", "ended"]


def test_dvc_works_from_threads_and_whatever_the_current_folder_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "dvc.yaml").write_text("stages: {first: {cmd: exit 9}}")
    monkeypatch.chdir(other)
    with dvc.runner(folder, bare_environment()) as runner:
        assert [stage.name for stage in runner.stages] == ["first", "second"]
        for name in ("first", "second"):
            with ThreadPoolExecutor() as pool:
                assert pool.submit(runner.run, name, print).result()
        (folder / "second.txt").unlink()
        assert runner.restore("second")
        runner.push()
    assert list((folder / "remote").rglob("runs/*/*/*"))  # for equal runs on other machines
    assert (folder / "second.txt").read_text() == "1\n"
    assert [path.name for path in other.iterdir()] == ["dvc.yaml"]


def test_a_runner_that_is_ended_ends_its_command_and_starts_no_other(folder: Path) -> None:
    write(folder, "echo started && exec sleep 600")
    log: list[str] = []
    with dvc.runner(folder, bare_environment()) as runner, ThreadPoolExecutor() as pool:
        running = pool.submit(runner.run, "first", log.append)
        wait_for(lambda: "started" in log, 10, "the first stage")
        runner.end()
        with pytest.raises(dvc.StageError, match="was killed"):
            running.result(timeout=5)
        with pytest.raises(dvc.StageError, match="was killed"):
            runner.run("first", log.append)
    assert not (folder / "first.txt").exists()


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


@pytest.mark.parametrize("end", ["kill -9 $PPID", "exit 1"])
def test_a_stage_that_dies_leaves_no_process_behind(folder: Path, end: str) -> None:
    write(folder, f"sleep 600 & echo $! > pid; {end}; exec sleep 600")
    with dvc.runner(folder, bare_environment()) as runner, pytest.raises(dvc.StageError, match="Stage first failed"):
        runner.run("first", lambda _: None)
    wait_for(lambda: not psutil.pid_exists(int((folder / "pid").read_text())), 5, "the end of the stage")


def test_nothing_of_a_stage_outlives_a_killed_flow(folder: Path) -> None:
    write(folder, "sleep 600 & echo $$ > pid && sleep 600 && touch first.txt")
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


@pytest.mark.parametrize("words", ["printf 'half a line'", "printf '\\0360\\n'", "cat"])
def test_whatever_a_stage_prints_or_reads_it_fails_by_its_exit_code(folder: Path, words: str) -> None:
    write(folder, f"{words}; exit 3")
    with dvc.runner(folder, bare_environment()) as runner:
        for _ in "twice":
            with pytest.raises(dvc.StageError, match="Stage first failed"):
                runner.run("first", lambda _: None)


def test_results_are_recorded_and_known_to_an_equal_run(folder: Path) -> None:
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run("first", print)
        (folder / "second.txt").write_text("1\n")
        runner.record("second")
        assert not runner.run("second", print)
    for name in ("first.txt", "second.txt", "dvc.lock"):
        (folder / name).unlink()
    with dvc.runner(folder, bare_environment()) as runner:
        assert not runner.run("first", print)
        assert runner.restore("second")
    assert (folder / "second.txt").read_text() == "1\n"


def test_a_stage_writes_a_new_file_and_not_into_the_cache(folder: Path) -> None:
    write(folder, "test ! -e first.txt && echo 1 > first.txt")
    with dvc.runner(folder, bare_environment()) as runner:
        runner.run("first", print)
        (folder / "params.yaml").write_text("n: 2\n")
        assert runner.run("first", print)


def test_a_stage_that_does_not_make_its_output_fails(folder: Path) -> None:
    write(folder, "echo nothing")
    with (
        dvc.runner(folder, bare_environment()) as runner,
        pytest.raises(dvc.StageError, match=r"results of first.*output.*first\.txt.*not exist"),
    ):
        runner.run("first", print)


def test_what_a_stage_needs_is_listed_in_order_and_nothing_else() -> None:
    stages = [
        dvc.Stage("extract", "cpu", 2),
        dvc.Stage("train@mlp", "gpu", 0, needs=("extract",)),
        dvc.Stage("report", "cpu", 0, needs=("train@mlp",)),
        dvc.Stage("package", "cpu", 0, needs=("train@mlp",)),
    ]
    assert [stage.name for stage in dvc.needed_by(stages, "package")] == ["extract", "train@mlp", "package"]
    with pytest.raises(dvc.StageError, match="no stage pack, only extract"):
        dvc.needed_by(stages, "pack")


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
