"""What is wrong with this project's surroundings, and what to do about each."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlencode

from flows import notifications
from infra.stack import local, pools, postgres_server, processes, store, supervisor_control
from infra.stack.programs import FRESH_SECONDS, programs
from pipelines.config.errors import EvergreenError
from pipelines.config.settings import PARTS, Settings, is_local
from pipelines.data import postgres
from pipelines.registry import ledger, publish, roles

LOCK_MEMBERS_NAMED = 5
PROBE = "evergreen-doctor/probe.txt"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: what, where it was seen, and the next action."""

    what: str
    where: str
    next: str


def diagnose(settings: Settings) -> list[Finding]:
    """Everything found wrong; an empty list means that all is well. It mends MLflow's aliases, and changes nothing else."""
    running = supervisor_control.is_running(settings.home)
    findings = [*_store(settings), *_environment(settings.folder / "requirements.lock")]
    findings += _programs(settings) if running else _not_running(settings)
    findings += _other_servers(settings)
    findings += _sign_on(settings)
    findings += _databases(settings, running)
    if pools.succeeds(f"{settings.mlflow_tracking_uri}/health"):
        findings += _artifacts(settings)
        findings += _aliases(settings)
    findings += _api(settings)
    if pools.succeeds(f"{settings.prefect_api_url}/health"):
        try:
            findings += _workers(settings)
            findings += _notifications(settings)
        except EvergreenError as error:
            findings.append(_from_error(error, settings.prefect_api_url))
    return findings


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        store.check_version(settings.home)
    except EvergreenError as error:
        yield _from_error(error, str(settings.home / "version"))
    secrets = settings.secrets_file
    if secrets.exists() and (mode := stat.S_IMODE(secrets.stat().st_mode)) & 0o077:
        yield Finding(f"The passwords can be read by other users (mode {mode:04o}).", str(secrets), f"chmod 600 {secrets}")
    if settings.embeds_postgres and settings.home.exists():
        try:
            postgres_server.account(settings.home)
        except EvergreenError as error:
            yield _from_error(error, str(settings.home))


def _environment(lock: Path) -> Iterator[Finding]:
    """One finding for all packages that are not what the lock says."""
    if not lock.exists():
        yield Finding("There is no lock file.", str(lock), "Restore it (git checkout requirements.lock), or run `make lock`.")
        return
    differing = []
    for name, version in _pins(lock).items():
        installed = None
        with suppress(metadata.PackageNotFoundError):
            installed = metadata.version(name)
        if installed != version:
            differing.append(f"{name} is {installed or 'missing'}, locked {version}")
    if differing:
        more = f" and {len(differing) - LOCK_MEMBERS_NAMED} more" if len(differing) > LOCK_MEMBERS_NAMED else ""
        named = "; ".join(differing[:LOCK_MEMBERS_NAMED])
        yield Finding(f"The environment differs from the lock: {named}{more}.", str(lock), "Run `make setup`.")


def _pins(lock: Path) -> dict[str, str]:
    """Package -> version, of those lines whose markers hold here."""
    from packaging.requirements import Requirement

    starts = (line for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
    wanted = [Requirement(line.rstrip("\\ ")) for line in starts]
    pinned = [
        requirement
        for requirement in wanted
        if requirement.specifier and (requirement.marker is None or requirement.marker.evaluate())
    ]
    return {requirement.name: next(iter(requirement.specifier)).version for requirement in pinned}


def _not_running(settings: Settings) -> Iterator[Finding]:
    chosen = programs(settings)
    if not chosen:
        return
    names, home = ", ".join(chosen), str(settings.home)
    if left := processes.belonging_to(settings.home):
        what = f"The supervisor does not run, and {len(left)} processes of a killed stack do."
        yield Finding(what, home, "Run `evergreen up`: it replaces them. Or `evergreen down`.")
        return
    yield Finding(f"The supervisor does not run, and so none of {names}.", home, "Run `evergreen up`.")
    for name, conflict in local.port_conflicts(settings).items():
        yield Finding(*_sentences(conflict, chosen[name].address))


def _programs(settings: Settings) -> Iterator[Finding]:
    for row in local.status(settings):
        if row.state in {"stopped", "starting"} and row.program not in {f"{pool}-1" for pool in pools.LIMITS}:
            word = "is down" if row.state == "stopped" else "runs but does not answer"
            yield Finding(f"{row.program} {word}.", row.address, f"Read {row.log}, then run `evergreen up`.")


def _other_servers(settings: Settings) -> Iterator[Finding]:
    servers = {
        "MLFLOW_TRACKING_URI": (settings.mlflow_tracking_uri, "/health"),
        "PREFECT_API_URL": (settings.prefect_api_url, "/health"),
        "EVERGREEN_SITE_URL": (settings.site_url, "/"),
        "EVERGREEN_API_URL": (settings.api_url, "/health"),
    }
    for setting, (url, path) in servers.items():
        answer = None if is_local(url) else pools.ask("get", f"{url}{path}")
        if not is_local(url) and not (answer and (answer.is_success or answer.is_refusal)):
            yield Finding("The server does not answer.", url, f"Start it, or correct {setting} in .env.")


def _sign_on(settings: Settings) -> Iterator[Finding]:
    """Servers that answer without a password although they have one or are not on this machine, and those that refuse ours."""
    servers = {
        "Prefect": (f"{settings.prefect_api_url}/admin/version", settings.prefect_auth, "PREFECT_API_AUTH_STRING"),
        "MLflow": (
            f"{settings.mlflow_tracking_uri}/api/2.0/mlflow/experiments/search?max_results=1",
            settings.mlflow_auth,
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ),
        "The report site": (f"{settings.site_url}/", settings.site_auth, "EVERGREEN_SITE_AUTH_STRING"),
    }
    for name, (url, auth, setting) in servers.items():
        answer = pools.ask("get", url)
        if answer is not None and answer.is_success and (auth or not is_local(url)):
            act = f"Start it with a password (docs/how-to/production.md), and put that into {setting} in .env."
            yield Finding(f"{name} is open: it answers without a password.", url, act)
        signed = pools.ask("get", url, auth=auth) if answer is not None and answer.is_refusal else None
        if signed is not None and signed.is_refusal:
            what = f"{name} refuses our password." if auth else f"{name} asks for a password, and we have none."
            yield Finding(what, url, f"Put the server's into {setting} in .env.")
    if settings.prefect_auth and settings.has_prefect_api_key:
        what = "PREFECT_API_KEY is set: Prefect's client sends it in place of PREFECT_API_AUTH_STRING, and is refused."
        yield Finding(what, "the environment or .env", "Unset it: it is for Prefect Cloud.")


def _databases(settings: Settings, running: bool) -> Iterator[Finding]:
    """Asked only where somebody should answer: the embedded ones are down with the stack."""
    if running or settings.source:
        try:
            with postgres.connect(settings.source_url):
                pass
        except EvergreenError as error:
            yield Finding(
                f"The source database is out of reach: {error}", "SOURCE_URL", _next_for(settings.source, "SOURCE_URL")
            )
    if running or settings.evergreen:
        try:
            missing = ledger.pending_migrations(settings.evergreen_url)
        except EvergreenError as error:
            yield Finding(
                f"The ledger cannot be used: {error}", "EVERGREEN_URL", _next_for(settings.evergreen, "EVERGREEN_URL")
            )
            return
        if missing:
            yield Finding(f"Migrations are missing: {', '.join(missing)}.", "schema evergreen", "Run `evergreen up`.")
        else:
            yield from _roles(settings)


def _roles(settings: Settings) -> Iterator[Finding]:
    """Whether scoring, promoting and watching have roles of their own, with no more than their rights."""
    apart = roles.of(settings)
    if missing := [kind for kind in PARTS if kind not in apart]:
        named = ", ".join(f"{kind.upper()}_URL" for kind in missing)
        act = (
            f"Let an administrator of that server run `create role evergreen_{missing[0]} login password '...'` and the like, "
            f"put {named} into .env, and run `evergreen up`, which gives them their rights."
        )
        yield Finding(f"Roles are not separated: {', '.join(missing)} connect as the owner of our tables.", named, act)
    for kind in apart:
        try:
            yield from _role(kind, roles.standing(getattr(settings, f"{kind}_url")))
        except EvergreenError as error:
            setting = f"{kind.upper()}_URL"
            yield Finding(f"The {kind} cannot connect: {error}", setting, _next_for(settings.evergreen, setting))


def _role(kind: str, standing: roles.Standing) -> Iterator[Finding]:
    role_name = f"role {standing.role} ({kind.upper()}_URL)"
    if standing.is_mighty or standing.owns_tables:
        more = "is an administrator of the server" if standing.is_mighty else "owns our tables, or is a member of who does"
        yield Finding(
            f"The {kind} {more}, so no right is kept from it.", role_name, f"Make a plain role, and name it in {role_name}."
        )
        return
    if standing.other_databases:
        names = " and ".join(standing.other_databases)
        act = "; ".join(f"revoke connect on database {name} from public" for name in standing.other_databases)
        yield Finding(f"The {kind} can enter the databases of {names}.", role_name, f"Let their owner run `{act}`.")
    if kind == "watcher" and not standing.may_stage:
        act = f"Let the database's owner run `grant temporary on database ... to {standing.role}`."
        yield Finding("The watcher cannot make the temporary table in which labels arrive.", role_name, act)
    if not standing.may_enter:
        yield Finding(f"The {kind} has no rights on schema evergreen.", role_name, "Run `evergreen up`, which gives them.")


def _next_for(configured: str, setting: str) -> str:
    return f"Start that server, or correct {setting} in .env." if configured else "Run `evergreen up`."


def _artifacts(settings: Settings) -> Iterator[Finding]:
    """Upload a few bytes and remove them: the server may answer while its store is full or gone."""
    url = f"{settings.mlflow_tracking_uri}/api/2.0/mlflow-artifacts/artifacts/{PROBE}"
    answer = pools.ask("put", url, content=b"probe", auth=settings.mlflow_auth)
    if answer is not None and answer.is_success:
        pools.ask("delete", url, auth=settings.mlflow_auth)
    elif answer is None or "--serve-artifacts" not in answer.text:  # a server whose clients write to the store themselves
        status = "no answer" if answer is None else f"status {answer.status_code}"
        place = settings.artifacts if is_local(url) else "that server's artifact store"
        what = f"MLflow's artifact store is out of reach ({status} to an upload)."
        act = f"Check that {place} can be written and its disk has room; MLflow's log says more."
        yield Finding(what, settings.mlflow_tracking_uri, act)


def _aliases(settings: Settings) -> Iterator[Finding]:
    """Where MLflow does not say what the ledger says, it is made to. What is asked first is quick; mending imports MLflow."""
    try:
        for model in ledger.models(settings.promoter_url):
            if _agrees(settings, model):
                continue
            for change in publish.reconcile(settings.promoter_url, settings.mlflow_tracking_uri, model):
                what = f"MLflow's aliases of {model!r} were not what the ledger says: {change}. That was mended just now."
                yield Finding(what, settings.mlflow_tracking_uri, "Nothing: the ledger decides, and MLflow follows it again.")
    except EvergreenError as error:
        yield _from_error(error, settings.mlflow_tracking_uri)


def _agrees(settings: Settings, model: str) -> bool:
    asked = f"{settings.mlflow_tracking_uri}/api/2.0/mlflow/registered-models/get?{urlencode({'name': model})}"
    answer = pools.ask("get", asked, auth=settings.mlflow_auth)
    registered = answer.json()["registered_model"] if answer and answer.is_success else {}
    there = {alias["alias"]: int(alias["version"]) for alias in registered.get("aliases", [])}
    url = settings.promoter_url
    wanted = {"champion": ledger.champion(url, model), "challenger": ledger.challenger(url, model)}
    return all(there.get(alias) == (version and version.mlflow_version) for alias, version in wanted.items())


def _api(settings: Settings) -> Iterator[Finding]:
    """What the API says of itself, where it answers; that nobody was promoted yet is no fault."""
    answer = pools.ask("get", f"{settings.api_url}/ready")
    if answer is None or not settings.api_model:
        return
    ready, act = answer.json(), f"Read {store.log_file(settings, f'api-{settings.api_model}')}, and `evergreen status`."
    with suppress(EvergreenError):
        tenures = ledger.champion(settings.scorer_url, settings.api_model)
        if tenures and not ready["ready"]:
            yield Finding(f"The API serves nothing: {ready['reason']}", settings.api_url, act)
    if ready["ready"] and ready["stale"]:
        yield Finding(f"The API serves a version that may be out of date: {ready['reason']}", settings.api_url, act)
    if ready["log"]:
        yield Finding(f"The API's prediction log does not get into Postgres: {ready['log']}", settings.api_url, act)


def _workers(settings: Settings) -> Iterator[Finding]:
    for pool in pools.LIMITS:
        age = pools.heartbeat_age(settings, pool)
        if age is None or age > FRESH_SECONDS:
            heard = "never heard of" if age is None else f"last heard {age:.0f} s ago"
            act = f"Start one: prefect worker start --pool {pool}"
            if is_local(settings.prefect_api_url) and pool in settings.pools:
                act = f"Run `evergreen up`, and read {store.log_file(settings, f'{pool}-1')}."
            yield Finding(f"No live worker in pool {pool} ({heard}).", settings.prefect_api_url, act)


def _notifications(settings: Settings) -> Iterator[Finding]:
    for block in settings.notify:
        slug, _, name = block.partition("/")
        url = f"{settings.prefect_api_url}/block_types/slug/{slug}/block_documents/name/{name}"
        answer = pools.ask("get", url, auth=settings.prefect_auth)
        if answer is not None and answer.status_code == 404:
            what = f"EVERGREEN_NOTIFY names {block}, and Prefect has no such block: nobody is told there."
            yield Finding(what, settings.prefect_api_url, notifications.how_to_make(block))


def _from_error(error: EvergreenError, location: str) -> Finding:
    return Finding(*_sentences(str(error), location))


def _sentences(text: str, location: str) -> tuple[str, str, str]:
    """A message as a finding: its first sentence, and what follows as what to do."""
    what, *rest = re.split(r"(?<=\.)\s+(?=[A-Z`])", text, maxsplit=1)
    return what, location, rest[0] if rest else "Correct that, and run `evergreen doctor` again."
