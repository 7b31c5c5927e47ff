"""Stage package: the bundle, which is what is published, promoted and served."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pipelines.config import params, stage
from pipelines.evaluation.package import ENSEMBLE, background, card, for_api, read_trained


def main(
    *,
    manifest: Path,
    schema: Path,
    past: Path,
    models: Path,
    ensemble: Path,
    evaluation: Path,
    audit: Path,
    reference: Path,
    sample: Path,
    bundle: Path,
) -> None:
    """Gather the challenger's graph and everything that describes it."""
    config = params.read()
    figures, data = json.loads(evaluation.read_text()), json.loads(manifest.read_text())
    groups = json.loads(audit.read_text())
    name = figures["challenger"]
    shutil.rmtree(bundle, ignore_errors=True)
    bundle.mkdir(parents=True)
    graph = (ensemble if name == ENSEMBLE else models / name) / "model.onnx"
    with stage.phase("write"):
        shutil.copyfile(graph, bundle / "model.onnx")
        for path in (schema, evaluation, audit, reference, sample):
            shutil.copyfile(path, bundle / path.name)
    stage.write_json(bundle / "decision.json", {"candidate": name, "threshold": figures["candidates"][name]["threshold"]})
    stage.write_json(bundle / "serving.json", for_api(config, figures["candidates"][name]["threshold"]))
    stage.write_json(bundle / "background.json", background(sample, json.loads(schema.read_text()), config))
    stage.write_text(bundle / "card.md", card(config, data, figures, groups, read_trained(name, models, ensemble)))
    stage.write_json(
        bundle / "manifest.json",
        {
            "model": config.model,
            "candidate": name,
            "data": data,
            "data_manifest_sha256": stage.sha256(manifest),
            "split": config.split.model_dump(),
            "present_since": json.loads(past.read_text())["overall"],
            "files": {path.name: stage.sha256(path) for path in sorted(bundle.iterdir()) if path.name != "manifest.json"},
        },
    )
    stage.say(f"Bundle {stage.sha256(bundle / 'manifest.json')[:12]}: {name}.")


if __name__ == "__main__":
    stage.run(main)
