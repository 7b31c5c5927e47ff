"""Addresses and secrets: what differs between machines and can change no model.

The environment enters here and nowhere else. A value comes from the process environment, else from
`.env` in the project folder (the user's own file, ignored by git), else from its default below.
Passwords of the embedded Postgres are generated into `<home>/secrets.env` by `evergreen up`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from dotenv import dotenv_values

from pipelines.config.errors import EvergreenError
from pipelines.config.setting_names import NAMES

LOCAL = "127.0.0.1"
USER = "evergreen"  # who signs on to the local stack's servers
PARTS = ("promoter", "scorer", "watcher")  # roles of our own database, beside its owner
BLOCK = re.compile(r"[a-z0-9-]+/[a-z0-9-]+")


@dataclass(frozen=True)
class Settings:
    """Where everything is. Ports of the local servers are the ports of their addresses."""

    folder: Path  # the project folder these settings were read for
    home: Path  # the one folder everything is written below
    source: str = field(default="", repr=False)  # the company's database, when it is the user's own
    evergreen: str = field(default="", repr=False)  # ours, when it is the user's own
    promoter: str = field(default="", repr=False)  # our own database by a role of less than its owner's rights, ...
    scorer: str = field(default="", repr=False)  # ... each for one kind of work (pipelines/registry/roles.py), ...
    watcher: str = field(default="", repr=False)  # ... where it is the user's own
    load: str = field(default="", repr=False)  # a role that may write to the source: `evergreen data load` and the demo data
    postgres_port: int = 54329
    prefect_api_url: str = "http://127.0.0.1:4200/api"
    mlflow_tracking_uri: str = "http://127.0.0.1:5000"
    site_url: str = "http://127.0.0.1:8090"
    auth: bool = False  # whether the local stack's servers ask for a password
    given_prefect_auth: str = field(default="", repr=False)  # NAME:PASSWORD, and so are the next two
    given_mlflow_auth: str = field(default="", repr=False)
    given_site_auth: str = field(default="", repr=False)
    given_mlflow_secret_key: str = field(default="", repr=False)
    allowed_hosts: str = ""  # names and ports by which MLflow may be called
    allowed_origins: str = ""  # addresses of its pages
    listen: str = LOCAL
    has_prefect_api_key: bool = False  # one of Prefect Cloud, which its client prefers to the auth string
    api_url: str = "http://127.0.0.1:8000"
    api_model: str = ""  # whose champion this clone's API serves; by default the clone's own model
    api_fsync: bool = False  # answer only when the log is on the disk, so that a machine that loses power loses no answer
    dvc_remote: str = ""  # a folder or bucket that all machines share
    artifacts: str = ""  # a folder or bucket of the local stack's MLflow
    pools: tuple[str, ...] = (
        "cpu",
        "gpu",
    )  # whose stages this machine does: what it deploys and, with a local stack, has workers for
    repository: str = ""  # where git on another machine finds this clone
    image: str = ""  # what runs in work pools that run images
    notify: tuple[str, ...] = ()  # Prefect notification blocks that are told, each as block-type-slug/name

    @classmethod
    def load_from(cls, folder: Path, environ: Mapping[str, str]) -> Settings:
        """Settings of the project in `folder`."""
        folder = folder.resolve()
        values = {**dotenv_values(folder / ".env"), **environ}
        given = {name: value for name in NAMES if (value := values.get(name))}
        port = given.get("EVERGREEN_POSTGRES_PORT", "54329")
        if not port.isdigit():
            raise EvergreenError(f"EVERGREEN_POSTGRES_PORT is {port!r}: give a port number in .env or the environment.")
        home = (folder / given.get("EVERGREEN_HOME", ".evergreen")).resolve()
        served = given.get("EVERGREEN_API_MODEL") or _model_in(folder)
        return cls(
            folder=folder,
            home=home,
            source=_database("SOURCE_URL", given),
            evergreen=_database("EVERGREEN_URL", given),
            **_parts(given),
            load=_database("LOAD_URL", given),
            postgres_port=int(port),
            prefect_api_url=given.get("PREFECT_API_URL", cls.prefect_api_url),
            mlflow_tracking_uri=given.get("MLFLOW_TRACKING_URI", cls.mlflow_tracking_uri),
            site_url=given.get("EVERGREEN_SITE_URL", cls.site_url),
            auth=_switch("EVERGREEN_AUTH", given),
            given_prefect_auth=_auth_string("PREFECT_API_AUTH_STRING", given),
            given_mlflow_auth=_mlflow_auth(given),
            given_site_auth=_auth_string("EVERGREEN_SITE_AUTH_STRING", given),
            given_mlflow_secret_key=given.get("MLFLOW_FLASK_SERVER_SECRET_KEY", ""),
            allowed_hosts=given.get("MLFLOW_SERVER_ALLOWED_HOSTS", ""),
            allowed_origins=given.get("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", ""),
            listen=given.get("EVERGREEN_LISTEN", LOCAL),
            has_prefect_api_key=bool(values.get("PREFECT_API_KEY")),
            api_url=given.get("EVERGREEN_API_URL") or _api_url(home, folder, served),
            api_model=served,
            api_fsync=_switch("EVERGREEN_API_FSYNC", given),
            dvc_remote=given.get("EVERGREEN_DVC_REMOTE", str(home / "dvc" / "remote")),
            artifacts=given.get("EVERGREEN_ARTIFACTS", str(home / "mlflow" / "artifacts")),
            pools=tuple(name.strip() for name in given.get("EVERGREEN_POOLS", ",".join(cls.pools)).split(",")),
            repository=given.get("EVERGREEN_REPOSITORY", str(folder)),
            image=given.get("EVERGREEN_IMAGE", ""),
            notify=_blocks(given.get("EVERGREEN_NOTIFY", "")),
        )

    @property
    def source_url(self) -> str:
        """SQLAlchemy URL of the company's data; its role needs nothing but SELECT."""
        return self.source or self.embedded_url("reader", "company")

    @property
    def evergreen_url(self) -> str:
        """SQLAlchemy URL of our own database, schema `evergreen`, by the role that owns all of it."""
        return self.evergreen or self.embedded_url("evergreen", "evergreen")

    @property
    def promoter_url(self) -> str:
        """The same database by who publishes, judges and promotes."""
        return self._part("promoter")

    @property
    def scorer_url(self) -> str:
        """The same database by who scores, in batches or for the API."""
        return self._part("scorer")

    @property
    def watcher_url(self) -> str:
        """The same database by who judges windows, and reads for pages."""
        return self._part("watcher")

    def _part(self, role: str) -> str:
        return getattr(self, role) or self.evergreen or self.embedded_url(role, "evergreen")

    @property
    def load_url(self) -> str:
        """SQLAlchemy URL of a role that may create tables in the source."""
        if self.source and not self.load:
            raise EvergreenError(
                "LOAD_URL is not set. SOURCE_URL is your own database, and loading writes to it: "
                "put a role that may create tables into LOAD_URL in .env."
            )
        return self.load or self.embedded_url("company", "company")

    @property
    def prefect_auth(self) -> str:
        """NAME:PASSWORD for Prefect's server; "" where it asks for none."""
        return self.given_prefect_auth or self._own_auth(self.prefect_api_url)

    @property
    def mlflow_auth(self) -> str:
        """NAME:PASSWORD for MLflow's server."""
        return self.given_mlflow_auth or self._own_auth(self.mlflow_tracking_uri)

    @property
    def site_auth(self) -> str:
        """NAME:PASSWORD for the report site."""
        return self.given_site_auth or self._own_auth(self.site_url)

    @property
    def mlflow_secret_key(self) -> str:
        """What MLflow's server signs forms with."""
        return self.given_mlflow_secret_key or self._secret("MLFLOW_SECRET_KEY")

    def _own_auth(self, url: str) -> str:
        return f"{USER}:{self._secret('AUTH_PASSWORD')}" if self.auth and is_local(url) else ""

    def _secret(self, name: str) -> str:
        secret = dotenv_values(self.secrets_file).get(name) if self.secrets_file.exists() else None
        if not secret:
            raise EvergreenError(f"{self.secrets_file} holds no {name}: run `evergreen up`, which makes one.")
        return secret

    def credentials(self) -> dict[str, str]:
        """The variables by which the clients of Prefect and MLflow sign on, and the site's; without servers that ask nobody."""
        user, _, password = self.mlflow_auth.partition(":")
        variables = {
            "PREFECT_API_AUTH_STRING": self.prefect_auth,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "EVERGREEN_SITE_AUTH_STRING": self.site_auth,
        }
        return {name: value for name, value in variables.items() if value}

    def hosts(self, url: str) -> bool:
        """Whether the server at this address is part of this stack: on this machine, or in a container beside this one."""
        return is_local(url) or self.listen != LOCAL

    @property
    def embeds_postgres(self) -> bool:
        """Whether the local stack runs a Postgres: unless both databases are the user's own."""
        return not (self.source and self.evergreen)

    @property
    def shares_remote(self) -> bool:
        """Whether other machines may read the DVC remote: the default one is only as far away as our own cache."""
        return not Path(self.dvc_remote).is_relative_to(self.home)

    @property
    def secrets_file(self) -> Path:
        return self.home / "secrets.env"

    def embedded_url(self, role: str, database: str) -> str:
        """URL of a role in the embedded Postgres.

        Raises:
            EvergreenError: `evergreen up` has not generated the passwords yet.
        """
        password = dotenv_values(self.secrets_file).get(f"{role.upper()}_PASSWORD") if self.secrets_file.exists() else None
        if not password:
            raise EvergreenError(
                f"No password for role {role!r} in {self.secrets_file}: run `evergreen up`, "
                "or set SOURCE_URL and EVERGREEN_URL in .env to use databases of your own."
            )
        return f"postgresql+psycopg://{role}:{quote(password, safe='')}@127.0.0.1:{self.postgres_port}/{database}"

    def environment(self) -> dict[str, str]:
        """These settings as variables, for a process that works in another folder."""
        variables = {"SOURCE_URL": self.source, "EVERGREEN_URL": self.evergreen, "LOAD_URL": self.load}
        variables |= {f"{role.upper()}_URL": getattr(self, role) for role in PARTS}
        user, _, password = self.given_mlflow_auth.partition(":")
        variables |= {
            "EVERGREEN_NOTIFY": ",".join(self.notify),
            "EVERGREEN_IMAGE": self.image,
            "PREFECT_API_AUTH_STRING": self.given_prefect_auth,
            "MLFLOW_TRACKING_USERNAME": user,
            "MLFLOW_TRACKING_PASSWORD": password,
            "EVERGREEN_SITE_AUTH_STRING": self.given_site_auth,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": self.given_mlflow_secret_key,
            "MLFLOW_SERVER_ALLOWED_HOSTS": self.allowed_hosts,
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": self.allowed_origins,
        }
        return {name: value for name, value in variables.items() if value} | {
            "EVERGREEN_HOME": str(self.home),
            "EVERGREEN_POSTGRES_PORT": str(self.postgres_port),
            "PREFECT_API_URL": self.prefect_api_url,
            "MLFLOW_TRACKING_URI": self.mlflow_tracking_uri,
            "EVERGREEN_SITE_URL": self.site_url,
            "EVERGREEN_AUTH": str(self.auth).lower(),
            "EVERGREEN_LISTEN": self.listen,
            "EVERGREEN_API_URL": self.api_url,
            "EVERGREEN_API_MODEL": self.api_model,
            "EVERGREEN_API_FSYNC": str(self.api_fsync).lower(),
            "EVERGREEN_DVC_REMOTE": self.dvc_remote,
            "EVERGREEN_ARTIFACTS": self.artifacts,
            "EVERGREEN_POOLS": ",".join(self.pools),
            "EVERGREEN_REPOSITORY": self.repository,
        }


def load() -> Settings:
    """Settings of the project in the current folder.

    The clients of Prefect and MLflow in this process and in its children get their passwords here: these libraries read
    them from nowhere but the environment.
    """
    settings = Settings.load_from(Path.cwd(), os.environ)
    with suppress(EvergreenError):  # the local stack has made none yet
        os.environ.update(settings.credentials())
    return settings


def is_local(url: str) -> bool:
    """Whether the local stack is to run the server at this address."""
    return urlsplit(url).hostname in {"127.0.0.1", "localhost"}


def api_notes(home: Path) -> dict[str, dict[str, Any]]:
    """What `evergreen up` has noted of each model that the stack serves (infra/stack/apis.py), by the model's name."""
    files = sorted((home / "apis").glob("*.json"))
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}


def _api_url(home: Path, clone: Path, model: str) -> str:
    """Where the stack serves a model, or would: at the address noted, else at the first port that no other clone's has."""
    notes = api_notes(home)
    if model in notes:
        return str(notes[model]["url"])
    first = urlsplit(Settings.api_url)
    taken = {urlsplit(note["url"]).port for note in notes.values() if note["clone"] != str(clone)}
    return next(f"http://{first.hostname}:{port}" for port in range(first.port or 0, 65536) if port not in taken)


def _blocks(text: str) -> tuple[str, ...]:
    """Such as `slack-webhook/team`, in the order they are named, each once."""
    names = list(dict.fromkeys(filter(None, (name.strip() for name in text.split(",")))))
    if wrong := [name for name in names if not BLOCK.fullmatch(name)]:
        raise EvergreenError(
            f"EVERGREEN_NOTIFY names {', '.join(map(repr, wrong))}. Write block-type-slug/name, with commas between several, "
            "such as slack-webhook/team,custom-webhook/ops: lower-case letters, digits and hyphens."
        )
    return tuple(names)


def _parts(values: Mapping[str, str]) -> dict[str, str]:
    """URLs of our own database by roles other than its owner's."""
    urls = {role: _database(f"{role.upper()}_URL", values) for role in PARTS}
    if lone := [f"{role.upper()}_URL" for role, url in urls.items() if url and not values.get("EVERGREEN_URL")]:
        raise EvergreenError(
            f"{', '.join(lone)} without EVERGREEN_URL: these are roles of the database that EVERGREEN_URL names. Put that "
            "into .env as well, or leave them out: the embedded Postgres has its own."
        )
    return urls


def _model_in(folder: Path) -> str:
    """What params.yaml calls the model; "" where there is none. Read without YAML, which takes longer than all else here."""
    file = folder / "params.yaml"
    match = (
        re.search(r"^model:\s*([a-z][a-z0-9_-]*)", file.read_text(encoding="utf-8"), re.MULTILINE) if file.exists() else None
    )
    return match[1] if match else ""


def _auth_string(name: str, values: Mapping[str, str]) -> str:
    value = values.get(name, "")
    if value and not all(value.partition(":")):
        raise EvergreenError(f"{name} is not NAME:PASSWORD: write both, with a colon between them.")
    return value


def _mlflow_auth(values: Mapping[str, str]) -> str:
    user, password = (values.get(f"MLFLOW_TRACKING_{part}", "") for part in ("USERNAME", "PASSWORD"))
    if bool(user) != bool(password):
        raise EvergreenError("MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD go together: set both, or none.")
    return f"{user}:{password}" if user else ""


def _switch(name: str, values: Mapping[str, str]) -> bool:
    text = values.get(name, "false").lower()
    if text not in {"true", "false"}:
        raise EvergreenError(f"{name} is {values[name]!r}: write true or false.")
    return text == "true"


def _database(name: str, values: Mapping[str, str]) -> str:
    """The URL of a database of the user's own, or "". `postgresql://` alone means another driver from one SQLAlchemy to
    the next, so psycopg is named."""
    url = values.get(name, "")
    scheme, separator, rest = url.partition("://")
    dialect, _, driver = scheme.partition("+")
    if separator and (dialect not in {"postgres", "postgresql"} or driver not in {"", "psycopg"}):
        why = (
            f"the driver {driver!r}: leave it out"
            if dialect in {"postgres", "postgresql"}
            else f"{dialect!r}: only Postgres is read"
        )
        raise EvergreenError(
            f"{name} begins with {scheme}://, which names {why}. Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE. "
            "Tables of another database come in as files: `evergreen data load FILE --table schema.table`."
        )
    try:
        parts = urlsplit(url)
        readable = not url or ((parts.port is None or parts.port > 0) and bool(parts.hostname))
    except ValueError:
        readable = False
    if not readable:
        raise EvergreenError(
            f"{name} is not a URL that can be read. Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, and odd characters "
            "of the password percent-encoded (# is %23, / is %2F, @ is %40)."
        )
    return f"postgresql+psycopg://{rest}" if url else ""
