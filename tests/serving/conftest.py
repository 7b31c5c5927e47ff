import pytest

from tests.support import served_versions as versions
from tests.support.asking import Asking


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    return versions.served(tmp_path_factory.mktemp("version") / "bundle")


@pytest.fixture
def asking(tmp_path, served):
    return Asking(tmp_path / "log", served)
