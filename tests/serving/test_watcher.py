"""Which version serves: the ledger's champion, soon after it is promoted, and nothing that is not what was published."""

from __future__ import annotations

import shutil
import time

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.data import postgres
from pipelines.registry import ledger
from serving import keys
from serving.watcher import STALE_SECONDS, ModelWatcher
from tests.support import served_versions as versions


@pytest.fixture
def url(ledger_url):
    ledger.migrate(ledger_url)
    return ledger_url


class Place:
    """Where a follower finds things. `store` stands for MLflow's files; `url` may be set to one that nobody answers at."""

    def __init__(self, folder, url):
        self.url, self.models, self.store, self.note = url, folder / "models", folder / "store", folder / "note.json"
        self.models.mkdir()
        self.store.mkdir()
        self.fetched = 0

    def fetch(self, champion, models):
        self.fetched += 1
        kept = self.store / champion.bundle_sha256
        if not kept.exists():
            raise EvergreenError("MLflow does not answer.")
        shutil.copytree(kept, models / champion.bundle_sha256, dirs_exist_ok=True)

    def watcher(self):
        return ModelWatcher(lambda: self.url, "churn", self.models, self.note, self.fetch)

    def keep(self, version):
        shutil.copytree(self.models / version.bundle_sha256, self.store / version.bundle_sha256)


@pytest.fixture
def place(tmp_path, url):
    return Place(tmp_path, url)


def look(watcher):
    """One look at the ledger."""
    with postgres.connect(watcher._url()) as connection:
        watcher.look(connection)


@pytest.fixture
def running(place):
    """A follower that runs, ended after the test."""
    started = []

    def start():
        started.append(place.watcher())
        started[-1].start()
        return started[-1]

    yield start
    for one in started:
        one.stop()
        one.join(20)


def until(condition, seconds=15.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def away(url):
    return url.rpartition(":")[0] + ":1/" + url.rpartition("/")[2]


def flip(path, at=100):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_promotion_is_served_within_five_seconds(place, running):
    versions.promote(place.url, place.models, 0.0)
    state = running().state
    until(lambda: state.served)
    assert (state.served.version, state.trouble) == (1, "")
    versions.promote(place.url, place.models, 0.5)
    began = time.monotonic()
    until(lambda: state.served.version == 2)
    assert time.monotonic() - began < 5


def test_before_the_first_promotion_it_says_what_to_do(place):
    watcher = place.watcher()
    look(watcher)
    assert watcher.state.served is None
    assert "has no champion yet: `prefect deployment run 'retrain/churn'" in watcher.state.trouble


def test_a_flipped_byte_is_refused_and_what_served_goes_on(place):
    versions.promote(place.url, place.models, 0.0)
    watcher = place.watcher()
    look(watcher)
    second = versions.promote(place.url, place.models, 0.5)
    flip(place.models / second.bundle_sha256 / "model.onnx")
    look(watcher)
    assert watcher.state.served.version == 1
    assert "v2 is champion and cannot be loaded" in watcher.state.trouble
    assert place.fetched == 1


def test_a_damaged_copy_is_fetched_anew(place):
    version = versions.promote(place.url, place.models, 0.0)
    place.keep(version)
    flip(place.models / version.bundle_sha256 / "model.onnx")
    watcher = place.watcher()
    look(watcher)
    assert (watcher.state.served.version, place.fetched) == (1, 1)


def test_a_store_that_hands_out_something_else_is_refused(place):
    version = versions.promote(place.url, place.models, 0.0)
    place.keep(version)
    flip(place.store / version.bundle_sha256 / "model.onnx")
    shutil.rmtree(place.models / version.bundle_sha256)
    watcher = place.watcher()
    look(watcher)
    assert watcher.state.served is None
    assert "model.onnx: changed" in watcher.state.trouble


def test_what_was_refused_is_not_tried_every_second(place):
    version = versions.promote(place.url, place.models, 0.0)
    shutil.rmtree(place.models / version.bundle_sha256)
    watcher = place.watcher()
    for _ in range(3):
        look(watcher)
    assert place.fetched == 1


def test_a_start_without_the_ledger_serves_what_served_last_and_its_keys(place, running):
    key = keys.create(place.url, "somebody", ["predict"])
    versions.promote(place.url, place.models, 0.0)
    look(place.watcher())
    place.url = away(place.url)
    state = running().state
    until(lambda: state.served)
    assert (state.served.version, state.is_stale()) == (1, True)
    assert "Postgres at" in state.trouble
    assert state.keyring.scopes(f"Bearer {key}".encode()) == {"predict"}


def test_a_start_without_the_ledger_refuses_a_copy_that_was_changed(place, running):
    version = versions.promote(place.url, place.models, 0.0)
    look(place.watcher())
    flip(place.models / version.bundle_sha256 / "model.onnx")
    place.url = away(place.url)
    state = running().state
    until(lambda: "cannot be loaded either" in state.trouble)
    assert state.served is None


def test_a_start_without_anything_says_so(place, running):
    place.url = away(place.url)
    state = running().state
    until(lambda: "Postgres at" in state.trouble)
    assert (state.served, state.ledger_age()) == (None, float("inf"))


def test_it_is_stale_when_the_ledger_was_not_followed_for_a_while(place):
    versions.promote(place.url, place.models, 0.0)
    watcher = place.watcher()
    look(watcher)
    assert not watcher.state.is_stale()
    watcher.state.followed_at -= STALE_SECONDS + 1
    assert watcher.state.is_stale()


def test_the_ledger_may_come_back(place, running):
    versions.promote(place.url, place.models, 0.0)
    there, place.url = place.url, away(place.url)
    state = running().state
    until(lambda: state.trouble.startswith("Postgres"))
    place.url = there
    until(lambda: state.served and not state.trouble)


def test_a_revoked_key_is_known_at_the_next_look(place):
    key = keys.create(place.url, "somebody", ["predict", "admin"])
    watcher, header = place.watcher(), f"bearer {key}".encode()
    look(watcher)
    assert watcher.state.keyring.scopes(header) == {"predict", "admin"}
    keys.revoke(place.url, key[3:11])
    look(watcher)
    assert watcher.state.keyring.scopes(header) is None
