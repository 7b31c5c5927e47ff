"""The stack's own key: made once, kept beside the passwords, and made anew where it was revoked."""

import stat

import pytest

from infra.stack import api_key, store
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from serving import keys


@pytest.fixture
def here(ledger_url, tmp_path):
    ledger.migrate(ledger_url)
    return Settings.load_from(tmp_path, {"EVERGREEN_URL": ledger_url, "EVERGREEN_HOME": str(tmp_path)})


def test_it_is_made_once_and_leaves_other_secrets_alone(here):
    store.add_secrets(here, {"READER_PASSWORD": "word"})
    api_key.ensure(here)
    made = api_key.show(here)
    api_key.ensure(here)
    assert api_key.show(here) == made
    assert keys.is_valid(here.evergreen_url, made)
    assert store.read_passwords(here) == {"reader": "word"}
    assert stat.S_IMODE(here.secrets_file.stat().st_mode) == 0o600


def test_one_that_was_revoked_is_made_anew(here):
    api_key.ensure(here)
    first = api_key.show(here)
    keys.revoke(here.evergreen_url, first[3:11])
    api_key.ensure(here)
    assert api_key.show(here) != first
    assert [one.revoked_at is None for one in keys.listed(here.evergreen_url)] == [False, True]


def test_without_one_it_says_what_makes_it(here):
    with pytest.raises(EvergreenError, match="run `evergreen up`, which makes one"):
        api_key.show(here)
