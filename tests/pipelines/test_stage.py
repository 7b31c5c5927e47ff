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
    clock = Clock(importing=10, now=lambda: float(next(ticks)))  # every look at the clock is a second later
    with clock.phase("read"), clock.phase("import"):
        pass
    with clock.phase("write"):
        pass
    assert str(clock) == "import 11.0 s, read 2.0 s, work 3.0 s, write 1.0 s"


def test_a_phase_that_fails_ends():
    ticks = itertools.count()
    clock = Clock(now=lambda: float(next(ticks)))
    with suppress(OSError), clock.phase("write"):
        raise OSError
    assert str(clock) == "import 0.0 s, read 0.0 s, work 2.0 s, write 1.0 s"


def test_a_stage_says_last_what_it_imported_read_and_wrote(tmp_path):
    """Imports within main and within a phase are imports; so is all before main."""
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(1)\n")
    (tmp_path / "early.py").write_text("import time\ntime.sleep(0.2)\n")
    program = """
        import early, time
        from pipelines.config import stage

        def main() -> None:
            with stage.phase("read"):
                import slow
                time.sleep(0.1)
            with stage.phase("write"):
                time.sleep(0.2)
            time.sleep(0.25)

        stage.run(main)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={"PYTHONPATH": f"{tmp_path}:{Path(stage.__file__).parents[2]}"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = [float(spent) for spent in re.findall(r"([\d.]+) s", found.stdout.splitlines()[-1])]
    assert found.stdout.startswith(stage.TIMES)
    imported, read, work, write = seconds
    assert imported >= 1.2
    assert 0.1 <= read < 1  # without its import
    assert work >= 0.25
    assert write >= 0.15
