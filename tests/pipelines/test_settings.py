"""Addresses and secrets: one door, in a fixed order of precedence."""

import pytest

from pipelines.config.errors import EvergreenError
from pipelines.config.settings import Settings, is_local


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(tmp_path):
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_URI=http://127.0.0.1:1\nPREFECT_API_URL=http://127.0.0.1:2/api\n")
    found = Settings.load_from(tmp_path, {"PREFECT_API_URL": "http://127.0.0.1:3/api"})
    assert (found.mlflow_tracking_uri, found.prefect_api_url) == ("http://127.0.0.1:1", "http://127.0.0.1:3/api")
    assert found.site_url == Settings.site_url


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_a_database_url_always_names_its_driver(tmp_path, scheme):
    found = Settings.load_from(tmp_path, {"SOURCE_URL": f"{scheme}://reader@host/company"})
    assert found.source_url == "postgresql+psycopg://reader@host/company"


def test_a_password_with_odd_characters_survives_the_url(tmp_path):
    (tmp_path / ".evergreen").mkdir()
    (tmp_path / ".evergreen/secrets.env").write_text("READER_PASSWORD='a/b@c:d%'\n")
    assert "reader:a%2Fb%40c%3Ad%25@127.0.0.1" in Settings.load_from(tmp_path, {}).source_url


def test_without_a_stack_the_error_says_what_to_run(tmp_path):
    with pytest.raises(EvergreenError, match="run `evergreen up`, or set SOURCE_URL and EVERGREEN_URL"):
        _ = Settings.load_from(tmp_path, {}).evergreen_url


def test_a_source_of_the_users_own_is_not_loaded_into_by_its_reader(tmp_path):
    with pytest.raises(EvergreenError, match="LOAD_URL is not set"):
        _ = Settings.load_from(tmp_path, {"SOURCE_URL": "postgresql://reader@host/company"}).load_url


def test_the_variables_of_a_workspace_give_the_same_settings(tmp_path):
    settings = Settings.load_from(tmp_path, {"SOURCE_URL": "postgresql://a:b@host/c", "EVERGREEN_POSTGRES_PORT": "7"})
    there = Settings.load_from(tmp_path / "elsewhere", settings.environment())
    assert (there.home, there.source_url, there.postgres_port) == (settings.home, settings.source_url, 7)


def test_a_port_that_is_none_is_named(tmp_path):
    with pytest.raises(EvergreenError, match="EVERGREEN_POSTGRES_PORT is 'x'"):
        Settings.load_from(tmp_path, {"EVERGREEN_POSTGRES_PORT": "x"})


def test_only_this_machine_is_local():
    assert is_local("http://127.0.0.1:4200/api") and is_local("http://localhost:1")
    assert not is_local("https://prefect.example.org/api")


def test_notification_blocks_are_named_by_type_and_name(tmp_path):
    settings = Settings.load_from(tmp_path, {"EVERGREEN_NOTIFY": "slack-webhook/team, custom-webhook/ops,slack-webhook/team"})
    assert settings.notify == ("slack-webhook/team", "custom-webhook/ops")
    assert Settings.load_from(tmp_path, settings.environment()).notify == settings.notify
    assert Settings.load_from(tmp_path, Settings.load_from(tmp_path, {}).environment()).notify == ()


@pytest.mark.parametrize("wrong", ["team", "slack-webhook/", "https://hooks.slack.com/services/T/B/X", "Slack/team"])
def test_a_notification_block_that_cannot_be_is_named(tmp_path, wrong):
    with pytest.raises(EvergreenError, match="Write block-type-slug/name") as error:
        Settings.load_from(tmp_path, {"EVERGREEN_NOTIFY": wrong})
    assert repr(wrong) in str(error.value)


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("mysql://reader:secret@host/company", "'mysql': only Postgres is read"),
        ("sqlite:///company.db", "'sqlite': only Postgres is read"),
        ("postgresql+psycopg2://reader:secret@host/company", "the driver 'psycopg2': leave it out"),
        ("postgresql+asyncpg://reader:secret@host/company", "the driver 'asyncpg': leave it out"),
    ],
)
def test_a_url_of_another_database_or_driver_is_refused_by_name(tmp_path, url, named):
    with pytest.raises(EvergreenError, match=named) as error:
        Settings.load_from(tmp_path, {"SOURCE_URL": url})
    assert "Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in str(error.value)
    assert "secret" not in str(error.value)
