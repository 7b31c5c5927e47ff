"""The stack's own key: made once, kept beside the passwords, and made anew where it was revoked."""

import stat

import pytest

from infra.stack import api_key, store
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings
from pipelines.registry import ledger
from serving import keys


@pytest.fixture
def settings(ledger_url, tmp_path):
    ledger.migrate(ledger_url)
    return Settings.load_from(tmp_path, {"EVERGREEN_URL": ledger_url, "EVERGREEN_HOME": str(tmp_path)})


def test_it_is_made_once_and_leaves_other_secrets_alone(settings):
    store.add_secrets(settings, {"READER_PASSWORD": "word"})
    api_key.ensure(settings)
    made = api_key.show(settings)
    api_key.ensure(settings)
    assert api_key.show(settings) == made
    assert keys.is_valid(settings.evergreen_url, made)
    assert store.read_passwords(settings) == {"reader": "word"}
    assert stat.S_IMODE(settings.secrets_file.stat().st_mode) == 0o600


def test_one_that_was_revoked_is_made_anew(settings):
    api_key.ensure(settings)
    first = api_key.show(settings)
    keys.revoke(settings.evergreen_url, first[3:11])
    api_key.ensure(settings)
    assert api_key.show(settings) != first
    assert [one.revoked_at is None for one in keys.listed(settings.evergreen_url)] == [False, True]


def test_without_one_it_says_what_makes_it(settings):
    with pytest.raises(EvergreenError, match="run `evergreen up`, which makes one"):
        api_key.show(settings)
