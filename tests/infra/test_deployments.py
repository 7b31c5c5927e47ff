"""Which deployments a machine puts up."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import deployments, programs
from pipelines.errors import EvergreenError
from pipelines.settings import Settings

TEMPLATE = Path(deployments.__file__).with_name("prefect.yaml")
OWN = [f"{flow}/{deployments.MODEL}" for flow in ("retrain", "score", "monitor", "backfill", "promote")]


@pytest.mark.parametrize(
    ("pools", "names"),
    [
        (("cpu", "gpu"), [*OWN, "stage/cpu", "stage/gpu"]),
        (("cpu",), [*OWN, "stage/cpu"]),
        (("gpu",), ["stage/gpu"]),
    ],
)
def test_a_machine_deploys_what_its_pools_do(tmp_path: Path, pools: tuple[str, ...], names: list[str]) -> None:
    assert deployments._write_own(TEMPLATE, tmp_path / "prefect.yaml", pools) == names
    assert "prefect.deployments.steps.set_working_directory" in (tmp_path / "prefect.yaml").read_text()


def test_a_pool_that_there_is_not_is_named(tmp_path: Path) -> None:
    with pytest.raises(EvergreenError, match=r"names tpu; .*prefect.yaml has cpu, gpu"):
        deployments._write_own(TEMPLATE, tmp_path / "prefect.yaml", ("cpu", "tpu"))


def test_the_local_stack_has_workers_for_the_machines_own_pools(tmp_path: Path) -> None:
    names = programs.programs(Settings.load_from(tmp_path, {"EVERGREEN_POOLS": "cpu"}))
    assert "cpu-1" in names
    assert "gpu-1" not in names
