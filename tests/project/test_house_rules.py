"""The house rules: what keeps a stage from going stale, a key from being ignored, and a room from reaching upward."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import grimp
import pytest
from dvc.repo import Repo

from pipelines.config import params
from pipelines.config.errors import EvergreenError

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "flows", "infra", "monitoring", "pipelines", "serving")
LEARNS = {"audit", "ensemble", "evaluate", "recency", "train"}  # their outputs can change with a library
REFITS = "monitoring.ablation"  # fits whichever candidate is the challenger


@pytest.fixture(scope="module")
def stages():
    with Repo(str(ROOT)) as repo:
        yield {stage.addressing: stage for stage in repo.index.stages}


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True)


def module_of(stage):
    return re.search(r"python -m (\S+)", stage.cmd)[1]


def names(stage, kind):
    return {item.def_path for item in getattr(stage, kind)}


def test_what_a_stage_imports_is_among_its_deps(stages, imports):
    for name, stage in stages.items():
        module = module_of(stage)
        needed = {module}
        every = set(imports.find_children("pipelines.training.candidates"))
        if module == "pipelines.stages.train":
            needed.add(f"pipelines.training.candidates.{name.partition('@')[2]}")
        if REFITS in imports.find_upstream_modules(module):
            needed |= every
        files = files_behind(needed, imports)
        lacking = {file for file in files if not any(file == dep or file.startswith(f"{dep}/") for dep in names(stage, "deps"))}
        assert not lacking, f"{name} lacks {sorted(lacking)}"
        # a foreach names the same deps for every candidate: what one of them imports, all depend on
        others = every if module == "pipelines.stages.train" else set()
        python = {path for path in names(stage, "deps") if path.endswith(".py")}
        unused = python - files - files_behind(others, imports)
        assert not unused, f"{name} names {sorted(unused)}, which it does not import"


def files_behind(modules, imports):
    """Files of the modules and of all that they import."""
    needed = modules.union(*(imports.find_upstream_modules(module) for module in modules))
    return {path_of(one) for one in needed} - {None}


def path_of(module):
    """The module's file; None for a package that only gathers others."""
    folder = ROOT / module.replace(".", "/")
    if folder.is_dir():
        init = folder / "__init__.py"
        return init.relative_to(ROOT).as_posix() if init.stat().st_size else None
    return folder.with_suffix(".py").relative_to(ROOT).as_posix()


def test_what_a_stage_reads_of_params_is_among_its_params(stages, imports):
    owned = {field.alias or name for name, field in params.Params.model_fields.items()}
    for name, stage in stages.items():
        module = module_of(stage)
        direct = {one for one in imports.find_modules_directly_imported_by(module) if ".config" not in one}
        source = "".join((ROOT / path_of(one)).read_text() for one in {module, *direct} if path_of(one))
        read = {section.rstrip("_") for section in re.findall(r"\b(?:config|params)\.([a-z]+_?)\b", source)} & owned
        declared = {key.partition(".")[0] for dep in stage.deps for key in getattr(dep, "params", None) or []}
        assert read <= declared, f"{name} reads {sorted(read - declared)}, which dvc.yaml does not name"


def test_a_stages_command_is_what_its_module_takes(stages):
    for name, stage in stages.items():
        wanted = inspect.signature(importlib.import_module(module_of(stage)).main).parameters
        assert {word.replace("-", "_") for word in re.findall(r"--([a-z-]+)", stage.cmd)} == set(wanted), name
        named = names(stage, "deps") | names(stage, "outs")
        files = {word for word in stage.cmd.split() if "/" in word}
        lacking = {file for file in files if not any(path == file or path.startswith(f"{file}/") for path in named)}
        assert not lacking, f"{name} is given {sorted(lacking)}, which is neither among its deps nor its outs"


def test_a_stage_that_learns_depends_on_the_lock(stages):
    for name, stage in stages.items():
        if name.partition("@")[0] in LEARNS:
            assert "requirements.lock" in names(stage, "deps"), name


def test_a_stage_has_the_name_of_its_module(stages):
    for name, stage in stages.items():
        assert module_of(stage).rpartition(".")[2] == name.partition("@")[0]
        assert stage.meta["pool"] in {"cpu", "gpu"}


def test_the_dag_is_as_it_was_agreed():
    with Repo(str(ROOT)) as repo:
        edges = {f"{one.addressing} -> {other.addressing}" for other, one in repo.index.graph.edges}
    assert sorted(edges) == sorted((ROOT / "tests/project/dag.txt").read_text().splitlines())


def test_an_unknown_key_stops_with_its_name(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("  folds: 5", "  foldz: 5"))
    with pytest.raises(EvergreenError, match=r"split\.foldz: no such key"):
        params.read(tmp_path / "params.yaml")


def test_a_candidate_without_a_module_is_named(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("lightgbm: cpu,", "lightbgm: cpu,"))
    with pytest.raises(EvergreenError, match=r"candidates\.lightbgm has no module.*Known: .*lightgbm, linear"):
        params.read(tmp_path / "params.yaml")


def test_a_candidates_misspelt_key_is_named(tmp_path):
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text.replace("num_leaves", "num_leafs"))
    with pytest.raises(EvergreenError, match=r"candidates\.lightgbm\.num_leafs: no such key"):
        params.read(tmp_path / "params.yaml")


def test_imports_run_one_way():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_default_prefect_address_is_the_settings_own():
    import tomllib

    from pipelines.config.settings import Settings

    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["prefect"]["api"]["url"]
    assert configured == Settings.prefect_api_url


def test_importing_does_nothing_heavy():
    heavy = {
        "dvc",
        "evidently",
        "great_expectations",
        "lightgbm",
        "mlflow",
        "numpy",
        "pandas",
        "prefect",
        "sklearn",
        "sqlalchemy",
    }
    code = f"import sys, cli.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
