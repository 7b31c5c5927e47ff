"""What `GET /model` says of the version that serves, and how the request to it is described in the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from serving.answers import Answer
from serving.columns import example

if TYPE_CHECKING:
    from serving.version import Served

REFERENCE = "#/components/schemas/{name}"
FIGURES = ("point", "low", "high")
REFUSED = {
    "description": "Refused; `detail` says where and why, and never what was sent.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["detail"],
                "properties": {
                    "detail": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["loc", "type"],
                            "properties": {
                                "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                                "type": {"type": "string"},
                            },
                        },
                    }
                },
            }
        }
    },
}


def card(served: Served) -> dict[str, Any]:
    """Version, threshold and tiers, features with types and ranges, what it was trained on, and how good it is out of fold."""
    champion, found = served.champion, served.description
    evaluation, manifest = found["evaluation"], found["manifest"]
    candidate = found["decision"]["candidate"]
    metrics = evaluation["candidates"][candidate]["metrics"]
    data = manifest["data"]
    return {
        "model": champion.model,
        "version": champion.version,
        "epoch": champion.epoch,
        "candidate": candidate,
        "predicts": found["serving"]["target"],
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
        "harm": found.get("audit", {}).get("verdict", {}).get("attributes", {}),
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
    document["info"]["version"] = str(served.champion)
    return document


def _in_words(feature: dict[str, Any]) -> str:
    """What training saw; other values are taken as well."""
    if feature["type"] == "text":
        known = feature["values"]
        return f"Known: {', '.join(known[:20])}{' and others' if len(known) > 20 else ''}. Any other is scored as unknown."
    low, high = feature["range"] or (None, None)
    return "Never seen in training." if low is None else f"In training from {low:g} to {high:g}."
