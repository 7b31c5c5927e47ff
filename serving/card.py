"""What `GET /model` says of the version that serves, and how the request to it is described in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from serving.answers import Answer
from serving.columns import example
from serving.errors import CODES

if TYPE_CHECKING:
    from serving.version import Served

REFERENCE = "#/components/schemas/{name}"
FIGURES = ("point", "low", "high")
FAULT = {
    "type": "object",
    "required": ["loc", "type", "msg"],
    "properties": {
        "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
        "type": {"type": "string"},
        "msg": {"type": "string"},
    },
}
REFUSED = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "array", "items": FAULT}}}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """How the OpenAPI document describes these statuses: every `type` that may stand there, and what it means."""
    return {
        status: {
            "description": "Refused; `detail` says where, why, and what would be right, and holds no value that was sent.\n\n"
            + "\n".join(f"- `{kind}`: {meaning}" for kind, meaning in CODES[status].items()),
            "content": {"application/json": {"schema": REFUSED}},
        }
        for status in statuses
    }


def card(served: Served) -> dict[str, Any]:
    """Version, threshold and tiers, features with types and ranges, what it was trained on, and how good it is out of fold."""
    champion, description = served.champion, served.description
    evaluation, manifest = description["evaluation"], description["manifest"]
    candidate = description["decision"]["candidate"]
    metrics = evaluation["candidates"][candidate]["metrics"]
    data = manifest["data"]
    return {
        "model": champion.model,
        "version": champion.version,
        "revision": champion.revision,
        "candidate": candidate,
        "predicts": description["serving"]["target"],
        "horizon_days": served.windows[0] or None,
        "threshold": served.threshold,
        "tiers": served.tiers,
        "entity": served.columns.entity,
        "max_rows": served.columns.max_rows,
        "features": features(served),
        "training": {"as_of": data.get("as_of"), "rows": data.get("rows"), "fingerprint": data.get("fingerprint")},
        "held_out": {
            "rows": evaluation["rows"],
            "entities": evaluation["entities"],
            "positives": evaluation["positives"],
            "metrics": {name: {end: figure[end] for end in FIGURES} for name, figure in metrics.items()},
        },
        "harm": description.get("audit", {}).get("verdict", {}).get("attributes", {}),
        "bundle_sha256": champion.bundle_sha256,
        "onnx_sha256": champion.onnx_sha256,
        "git_commit": champion.git_commit,
        "published_at": champion.created_at,
    }


def features(served: Served) -> list[dict[str, Any]]:
    """Name, type, and the range of a number or the known values of a text, as training saw them."""
    schema, listed = served.model.schema, []
    for name, kind in served.columns.kinds.items():
        if kind == "text":
            listed.append({"name": name, "type": kind, "values": schema["categories"][name]})
        else:
            listed.append({"name": name, "type": kind, "range": schema.get("ranges", {}).get(name)})
    return listed


def describe(document: dict[str, Any], served: Served) -> dict[str, Any]:
    """The OpenAPI document with the schema of this version's requests and answers."""
    (row, answer), definitions = msgspec.json.schema_components([served.requests.row, Answer], ref_template=REFERENCE)
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": served.columns.max_rows}
    properties = definitions["Row"]["properties"]
    for feature in features(served):
        properties[feature["name"]]["description"] = _in_words(feature)
    properties[served.columns.entity]["description"] = "Whom the row is about; the outcome is joined by it later."
    definitions["Row"]["example"] = example(served.columns, served.model.schema)
    definitions["Row"]["title"] = f"A row for {served.champion.model} {served.champion}"
    document["components"]["schemas"] |= definitions
    predict = document["paths"]["/predict"]["post"]
    predict["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"anyOf": [row, rows]}}}}
    several = {"anyOf": [answer, {"type": "array", "items": answer}]}
    predict["responses"]["200"]["content"] = {"application/json": {"schema": several}}
    champion, predicts = served.champion, served.description["serving"]["target"]
    document["info"] |= {"version": str(champion), "title": f"Evergreen: {champion.model} {champion}"}
    document["info"]["description"] = (
        f"This server answers by **{champion.model} {champion}** ({served.description['decision']['candidate']}, trained as of "
        f"{served.description['manifest']['data'].get('as_of')}): the probability of `{predicts}`, positive from "
        f"{served.threshold:.4g} on. GET /model says more of it. A newly promoted version takes over while requests are served."
    )
    return document


def _in_words(feature: dict[str, Any]) -> str:
    """What training saw; other values are taken as well."""
    if feature["type"] == "text":
        values = feature["values"]
        return f"Known: {', '.join(values[:20])}{' and others' if len(values) > 20 else ''}. Any other is scored as unknown."
    low, high = feature["range"] or (None, None)
    return "Never seen in training." if low is None else f"In training from {low:g} to {high:g}."
