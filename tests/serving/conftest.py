import pytest

from tests.serving import versions
from tests.serving.asking import Asking


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    return versions.served(tmp_path_factory.mktemp("version") / "bundle")


@pytest.fixture
def asking(tmp_path, served):
    return Asking(tmp_path / "log", served)
