"""The last line of a stage: where its time went."""

import itertools
import re
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

from pipelines.config import stage
from pipelines.config.stage import Clock


def test_phases_within_each_other_are_counted_once():
    ticks = itertools.count()
    clock = Clock(starting=10, now=lambda: float(next(ticks)))  # every look at the clock is a second later
    with clock.phase("read"), clock.phase("work"):
        pass
    with clock.phase("write"):
        pass
    assert str(clock) == "start 10.0 s, read 2.0 s, work 4.0 s, write 1.0 s"


def test_a_phase_that_fails_ends():
    ticks = itertools.count()
    clock = Clock(now=lambda: float(next(ticks)))
    with suppress(OSError), clock.phase("write"):
        raise OSError
    assert str(clock) == "start 0.0 s, read 0.0 s, work 2.0 s, write 1.0 s"


def test_the_last_line_of_a_stage_is_where_its_time_went(tmp_path):
    """All before main is its start."""
    (tmp_path / "early.py").write_text("import time\ntime.sleep(0.2)\n")
    program = """
        import early, time
        from pipelines.config import stage

        def main() -> None:
            with stage.phase("read"):
                time.sleep(0.1)
            with stage.phase("write"):
                time.sleep(0.2)
            time.sleep(0.25)

        stage.run(main)
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": f"{tmp_path}:{Path(stage.__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = [float(spent) for spent in re.findall(r"([\d.]+) s", ended.stdout.splitlines()[-1])]
    assert ended.stdout.startswith(stage.TIMES)
    start, read, work, write = seconds
    assert start >= 0.2
    assert read >= 0.1
    assert work >= 0.25
    assert write >= 0.15
