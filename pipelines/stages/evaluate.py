"""Stage evaluate: every candidate on all rows, each by a model that has not seen the row's entity; and the challenger."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.config import params, stage
from pipelines.data import split
from pipelines.evaluation.evaluate import describe, evaluate, read_judged, summary, trained


def main(*, training: Path, models: Path, ensemble: Path, scores: Path, evaluation: Path, metrics: Path, plots: Path) -> None:
    """Evaluate the enabled candidates, and their ensemble where there is one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines.evaluation import plot

    config = params.read()
    folders = trained(models, ensemble, config.enabled)
    with stage.phase("read"):
        table = pq.read_table(training)
    judged, places = read_judged(table, folders, config)
    sizes = {name: (folder / "model.onnx").stat().st_size for name, folder in folders.items()}
    figures = evaluate(table, judged, sizes, [describe(table, place, config.data) for place in places], config)
    first, scored = next(iter(judged.values())), {name: each.scores for name, each in judged.items()}
    kept = [*config.data.key_columns, config.data.target, split.FOLD, *config.data.protected]
    written = table.select(list(dict.fromkeys(kept))).append_column("newest", pa.array(first.late))
    for name, values in scored.items():
        written = written.append_column(f"score_{name}", pa.array(values))
    scores.parent.mkdir(parents=True, exist_ok=True)
    with stage.phase("write"):
        pq.write_table(written, scores, compression="zstd")
    stage.write_json(evaluation, figures)
    for name, headline in summary(figures).items():
        stage.write_json(metrics / f"{name}.json", headline)
    shap = {name: json.loads((folder / "shap.json").read_text()) for name, folder in folders.items()}
    plot.write(plots, first.labels, scored, figures, shap)
    stage.say(f"Challenger: {figures['challenger']}, on {figures['rows']:,} rows of {figures['entities']:,} entities.")


if __name__ == "__main__":
    stage.run(main)
