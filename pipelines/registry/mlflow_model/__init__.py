"""A version as an MLflow model: whoever has MLflow loads, scores and serves it, without Evergreen.

The folder holds the bundle's graph under two flavours. `onnx` is the graph as it is. `python_function` takes frames of the
training query's columns: its code is the one small file evergreen_model.py, which travels with the model. Nothing is pickled,
and our own scoring reads none of it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

CODE = Path(__file__).with_name("evergreen_model.py")
FILES = ("model.onnx", "schema.json")
NEEDED = ("onnx", "onnxruntime", "numpy", "pandas")  # named here: MLflow would try the model for half a minute to find out


def write(bundle: Path, folder: Path) -> None:
    """Make `folder`, which must not exist, an MLflow model of a bundle."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    schema, manifest = (json.loads((bundle / name).read_text(encoding="utf-8")) for name in ("schema.json", "manifest.json"))
    types = {name: type_name for name, type_name in manifest["data"].get("columns", {}).items() if name in _names(schema)}
    model = Model()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "graph"
        data.mkdir()
        for name in FILES:
            shutil.copyfile(bundle / name, data / name)
        mlflow.pyfunc.save_model(
            folder,
            loader_module=CODE.stem,
            data_path=str(data),
            code_paths=[str(CODE)],
            mlflow_model=model,
            signature=_signature(schema),
            input_example=pd.DataFrame([example(schema, types)]),
            pip_requirements=[f"{name}=={version(name)}" for name in NEEDED],
            metadata={"columns": types, "candidate": manifest["candidate"]},
        )
    graph = f"{model.flavors['python_function']['data']}/model.onnx"
    one_thread = {"intra_op_num_threads": 1, "inter_op_num_threads": 1}
    model.add_flavor(
        "onnx", onnx_version=version("onnx"), data=graph, providers=["CPUExecutionProvider"], onnx_session_options=one_thread
    )
    model.save(folder / "MLmodel")


def example(schema: Mapping[str, Any], types: Mapping[str, str]) -> dict[str, Any]:
    """A row that nobody is: the middle of each range, and the first known value of each text."""
    ranges = schema.get("ranges", {})
    row: dict[str, Any] = {}
    for name in schema["numbers"]:
        low, high = ranges.get(name) or (None, None)
        middle = 0.0 if low is None else (low + high) / 2
        row[name] = middle >= 0.5 if types.get(name) == "bool" else round(middle) if "int" in types.get(name, "") else middle
    return row | {name: next(iter(categories), "") for name, categories in schema["categories"].items()}


def _names(schema: Mapping[str, Any]) -> list[str]:
    return [*schema["numbers"], *schema["categories"]]


def _signature(schema: Mapping[str, Any]) -> Any:
    """Of the query's columns. A number may be of any type: MLflow refuses an int64 for a double, and a NaN for an integer,
    so that no other type would take both a column that happens to be whole and one that has gaps."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    numbers = [ColSpec(AnyType(), name, required=False) for name in schema["numbers"]]
    texts = [ColSpec(DataType.string, name) for name in schema["categories"]]
    return ModelSignature(inputs=Schema([*numbers, *texts]), outputs=Schema([ColSpec(DataType.double, "probability")]))
