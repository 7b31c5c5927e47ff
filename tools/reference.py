"""Writes what the documentation takes from the code: `make reference`. A test says when one of the files is stale.

The CLI's page comes from Typer; params.yaml's page and JSON Schema from pydantic and from the comments in params.yaml; the
settings' page and .env.example from pipelines/config/setting_names.py; the API's errors from serving/errors.py; and the index
of the decisions from their own first lines.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from cli.app import app
from pipelines.config import params, sections
from pipelines.config.setting_names import NAMES
from pipelines.training import candidates
from serving.errors import CODES

ROOT = Path(__file__).parents[1]
GENERATED = "<!-- Written by `make reference`: change the code, not this page. -->\n"
RANGE = {"type": "string", "pattern": rf"^{sections.NUMBER} to {sections.NUMBER}(, log)?$"}  # as people write a Range
LIMITS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}

ABOUT_PARAMS = """Every value that can change a model or a verdict, with the demo's values. An unknown key is an error. The
first line of the file names the [JSON Schema](params.schema.json), by which an editor completes and checks keys."""
ABOUT_SETTINGS = """Addresses and secrets: what differs between machines and can change no model. A value comes from the
process's environment, else from `.env` in the clone (ignored by git; `.env.example` is a copy to start from), else it is the
default. The local servers listen where the addresses say. A server at another host is used and not started."""
ABOUT_ERRORS = """A request that is refused is answered with `{"detail": [{"loc", "type", "msg"}]}`: where, of what kind, and
what would be right. Nothing that the request held comes back, but the name of a field that does not exist.
"""
ABOUT_DECISIONS = """What could be argued again, with the reason. Each is one short file here, which names the later one that
replaces it.
"""


def files() -> dict[str, str]:
    """Path below the project's folder -> text."""
    schema = params_schema((ROOT / "params.yaml").read_text(encoding="utf-8"))
    return {
        "docs/reference/cli.md": cli(),
        "docs/reference/params.md": params_page(schema, (ROOT / "params.yaml").read_text(encoding="utf-8")),
        "docs/reference/params.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n",
        "docs/reference/settings.md": settings_page(),
        "docs/reference/api-errors.md": api_errors(),
        "docs/decisions/index.md": decisions(ROOT / "docs/decisions"),
        ".env.example": env_example(),
    }


def cli() -> str:
    """Every command with its arguments and options, in the order of `evergreen --help`."""
    parts = [f"# Commands\n\n{GENERATED}\n`evergreen COMMAND --help` says the same in the terminal.\n"]
    for path, command in commands(typer.main.get_command(app), "evergreen"):
        arguments = [option.name.upper() for option in command.params if option.param_type_name == "argument"]
        usage = " ".join([path, *arguments, *(["[OPTIONS]"] if len(arguments) < len(command.params) else [])])
        parts.append(f"## `{usage}`\n\n{' '.join((command.help or '').split())}\n")
        rows = [f"| {_names(option)} | {_escape(option.help or '')} | {_default(option)} |" for option in command.params]
        if rows:
            parts.append("\n".join(["| | | default |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def commands(group: Any, path: str) -> Iterator[tuple[str, Any]]:
    """What can be run, with its words: groups are followed down to their commands."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _names(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])


def _default(parameter: Any) -> str:
    default = parameter.default
    if parameter.required:
        return "required"
    return "" if default is None or default is False or default == "" or callable(default) else f"`{default}`"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def params_schema(shipped: str) -> dict[str, Any]:
    """JSON Schema of params.yaml, candidates included; comments of the shipped file are the descriptions."""
    schema = params.Params.model_json_schema(by_alias=True)
    definitions, comments = schema["$defs"], {key: why for key, (_, why) in commented(shipped).items()}
    sections: dict[str, Any] = {}
    for name in sorted(module.name for module in pkgutil.iter_modules(candidates.__path__)):
        found = importlib.import_module(f"{candidates.__name__}.{name}").Params.model_json_schema()
        definitions |= found.pop("$defs", {})
        definitions[name] = found
        sections[name] = {"$ref": f"#/$defs/{name}"}
    definitions["Range"] = RANGE
    pools = {"type": "object", "additionalProperties": {"enum": list(params.POOLS)}, "minProperties": 1}
    schema["properties"]["candidates"] = {
        "type": "object",
        "properties": {"enabled": pools, **sections},
        "required": ["enabled"],
    }
    for section, own in schema["properties"].items():
        parts = own["properties"] if section == "candidates" else _section(schema, own).get("properties", {})
        for key, about in {section: own, **{f"{section}.{key}": about for key, about in parts.items()}}.items():
            about.pop("title", None)
            if comments.get(key):
                about["description"] = comments[key]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Evergreen's params.yaml"}


def _section(schema: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The definition that a property refers to; itself where it refers to none."""
    for option in [own, *own.get("anyOf", [])]:
        if "$ref" in option:
            return schema["$defs"][option["$ref"].rpartition("/")[2]]
    return dict(own)


def params_page(schema: Mapping[str, Any], shipped: str) -> str:
    """A table a section: key, the demo's value, what it may be, and why."""
    parts = [f"# params.yaml\n\n{GENERATED}\n{ABOUT_PARAMS}\n"]
    values, top = commented(shipped), []
    for section, own in schema["properties"].items():
        if section == "candidates":
            names = [name for name in own["properties"] if name != "enabled"]
            tables = [(f"candidates.{name}", schema["$defs"][name]["properties"]) for name in names]
            tables.insert(0, ("candidates", {"enabled": own["properties"]["enabled"]}))
        else:
            tables = [(section, _section(schema, own).get("properties"))]
        for name, keys in tables:
            if keys is None:
                top.append(_row(section, own, values.get(section, ("", ""))))
                continue
            rows = [_row(key, about, values.get(f"{name}.{key}", ("", ""))) for key, about in keys.items()]
            parts.append("\n".join([f"## {name}\n", HEADING, *rows]) + "\n")
    parts.insert(1, "\n".join([HEADING, *top]) + "\n")
    return "\n".join(parts)


HEADING = "| key | the demo's | may be | why |\n|---|---|---|---|"


def _row(key: str, about: Mapping[str, Any], shown: tuple[str, str]) -> str:
    value, why = shown
    may_be = _kind(about) + (f"; default `{json.dumps(about['default'])}`" if "default" in about else "")
    return f"| `{key}` | {f'`{value}`' if value else ''} | {_escape(may_be)} | {_escape(why)} |"


def _kind(about: Mapping[str, Any]) -> str:
    """What a value may be, in a few words."""
    if "anyOf" in about:
        return " or ".join(_kind(option) for option in about["anyOf"])
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    if "$ref" in about:
        return about["$ref"].rpartition("/")[2]
    limits = [" and ".join(text.format(about[key]) for key, text in LIMITS.items() if key in about)]
    of = about.get("items") or about.get("additionalProperties")
    kind = {"array": "list", "object": "map"}.get(about.get("type", "any"), about.get("type", "any"))
    return " ".join([about.get("format", kind), *([f"of {_kind(of)}"] if isinstance(of, dict) else []), *limits]).strip()


def commented(text: str) -> dict[str, tuple[str, str]]:
    """Dotted key -> its value and its comment, as they stand in a params.yaml; comments may go on in the next lines."""
    found: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    for line in text.splitlines():
        entry = re.match(r"( *)([A-Za-z]\w*):(?: +([^#\s].*?))?(?: +# (.*))?$", line)
        more = re.match(r" {10,}# (.*)$", line)
        if entry:
            path = [*path[: len(entry[1]) // 2], entry[2]]
            found[".".join(path)] = (entry[3] or "", entry[4] or "")
        elif more and path:
            value, why = found[".".join(path)]
            found[".".join(path)] = (value, f"{why} {more[1]}")
    return found


def settings_page() -> str:
    rows = [f"| `{name}` | {_escape(default)} | {_escape(about)} |" for name, (default, about) in NAMES.items()]
    return "\n".join(
        [
            f"# Settings\n\n{GENERATED}",
            f"{ABOUT_SETTINGS}\n",
            "| setting | default | what it is |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def env_example() -> str:
    lines = ["# Copy to .env, which git ignores, and set what you need. Written by `make reference`."]
    for name, (default, about) in NAMES.items():
        lines += ["", *[f"# {text.replace('`', '')}" for text in (f"{about}.", f"Default: {default}.")], f"# {name}="]
    return "\n".join(lines) + "\n"


def api_errors() -> str:
    """HTTP status, type and meaning of every refusal."""
    rows = [f"| {status} | `{kind}` | {_escape(about)} |" for status, kinds in CODES.items() for kind, about in kinds.items()]
    return "\n".join(
        [f"# Errors of the API\n\n{GENERATED}", ABOUT_ERRORS, "| status | type | what it means |", "|---|---|---|", *rows, ""]
    )


def decisions(folder: Path) -> str:
    """Number, title, date and status of each decision."""
    rows = []
    for file in sorted(folder.glob("[0-9]*.md")):
        title, _, status = file.read_text(encoding="utf-8").split("\n")[:3]
        rows.append(f"| [{file.name[:4]}]({file.name}) | {title.removeprefix('# ')} | {status} |")
    return "\n".join(
        [f"# Decisions\n\n{GENERATED}", ABOUT_DECISIONS, "| | decision | when, status |", "|---|---|---|", *rows, ""]
    )


def main() -> None:
    for path, text in files().items():
        (ROOT / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
