"""Keys: of the key itself nothing is kept, and every server can tell whose it is."""

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry import ledger
from serving import keys


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


def test_the_database_holds_nothing_of_a_key_but_its_id_and_digest(url):
    key = keys.create(url, "somebody", ["predict"])
    with postgres.connect(url) as connection:
        (row,) = connection.execute("select to_jsonb(api_keys)::text from evergreen.api_keys").fetchone()
    secret = key.partition("_")[2].partition("_")[2]
    assert len(secret) >= 43
    assert secret not in row
    assert keys.digest(key) in row


def test_keys_differ_and_are_listed_in_order(url):
    made = [keys.create(url, name, ["predict"]) for name in ("one", "two")]
    assert [one.name for one in keys.listed(url)] == ["one", "two"]
    assert [one.key_id for one in keys.listed(url)] == [key[3:11] for key in made]


def test_a_key_may_be_revoked_twice_and_keeps_its_first_end(url):
    key = keys.create(url, "somebody", ["predict"])
    assert keys.is_valid(url, key)
    first = keys.revoke(url, key[3:11]).revoked_at
    assert keys.revoke(url, key[3:11]).revoked_at == first
    assert not keys.is_valid(url, key)


def test_unknown_ids_and_scopes_are_named(url):
    with pytest.raises(EvergreenError, match=r"no key 'abc'\. Keys: none yet"):
        keys.revoke(url, "abc")
    with pytest.raises(EvergreenError, match=r"scopes are predict and admin; found root"):
        keys.create(url, "somebody", ["root"])
    with pytest.raises(EvergreenError, match="found none"):
        keys.create(url, "somebody", [])
