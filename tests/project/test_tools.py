"""What `make size` counts, and which tests `make check` leaves out."""

import subprocess
import sys
from pathlib import Path

from tools import size

ROOT = Path(__file__).parents[2]


def test_size_counts_lines_without_templates(tmp_path):
    (tmp_path / "product/templates").mkdir(parents=True)
    (tmp_path / "product/one.py").write_text("a = 1\n\n# why\n")
    (tmp_path / "product/templates/two.py").write_text("b = 1\n" * 50)
    assert size.lines(tmp_path, "product") == {Path("product/one.py"): 3}


def test_a_small_module_with_one_importer_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[tool.hatch.build.targets.wheel]\npackages = ["sized"]\n')
    files = {
        "__init__.py": "",
        "small.py": "A = 1\n",  # by large alone
        "shared.py": "B = 1\n",  # by two
        "long.py": "C = 1\n" * size.LAYER,
        "large.py": "from sized import long, shared, small\n",
        "other.py": "from sized import shared\n",
    }
    (tmp_path / "sized").mkdir()
    for name, text in files.items():
        (tmp_path / "sized" / name).write_text(text)
    found = size.single_importers(tmp_path, size.lines(tmp_path, "sized"))
    assert found == [(Path("sized/small.py"), 1, "sized.large")]


def test_check_leaves_out_what_needs_a_server():
    chosen = "tests/pipelines/test_roles.py", "tests/serving/test_keys.py", "tests/monitoring/test_windows.py"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not servers", "-p", "no:cacheprovider", *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    files = {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert files == {"tests/monitoring/test_windows.py"}, done.stdout


def test_check_names_a_test_that_is_too_slow_for_it():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/monitoring/test_windows.py", "-x"]
    done = subprocess.run([*command, "--most-seconds", "1e-9"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make it faster, or mark it `slow`" in done.stdout
