"""Features: which columns a model sees, and how a row becomes the inputs of a graph.

Numbers are float32, since that is what the graph compares. A category is its text; the graph holds the known
ones and sends every other to the unknown bucket.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pipelines.config.errors import EvergreenError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from pipelines.config.params import DataParams, FeaturesParams


def learn_schema(train: pa.Table, data: DataParams, params: FeaturesParams) -> dict[str, Any]:
    """What a model sees, learnt from the training side only.

    Returns:
        `numbers`: names in order; `categories`: name -> known values in order, the most frequent
        `max_categories` of those with at least `min_category_rows` rows; `ranges`: name -> [lowest, highest]; `texts`: how
        texts are read, where there are rules.

    Raises:
        EvergreenError: a column is neither number, boolean nor text, or nothing is left to learn from.
    """
    import pyarrow.types as types

    left_out = {*data.hidden, *params.exclude}
    _check_named(train, data, params)
    numbers, categories = [], {}
    for field in train.schema:
        if field.name in left_out:
            continue
        if types.is_integer(field.type) or types.is_floating(field.type) or types.is_boolean(field.type):
            numbers.append(field.name)
        elif types.is_string(field.type) or types.is_large_string(field.type):
            categories[field.name] = _known(_read(train[field.name], field.name, params.texts.model_dump()), params)
        else:
            raise EvergreenError(
                f"Column {field.name!r} is {field.type}: a feature is a number, a boolean or text. "
                "Cast it in training_set.sql, or name it in features.exclude."
            )
    if not numbers and not categories:
        raise EvergreenError("No feature is left: training_set.sql returns only keys, the target and excluded columns.")
    rules = {"texts": params.texts.model_dump()} if params.texts.model_dump(exclude_defaults=True) else {}
    return {"numbers": numbers, "categories": categories, "ranges": {name: _range(train[name]) for name in numbers}} | rules


def inputs(rows: pa.Table, schema: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """What a graph is fed: `numbers` float32 (rows, numbers), `categories` str objects (rows, categories)."""
    missing = [name for name in [*schema["numbers"], *schema["categories"]] if name not in rows.column_names]
    if missing:
        raise EvergreenError(f"The rows lack what the model reads: {', '.join(missing)}.")
    feeds = {"numbers": numbers(rows, schema), "categories": texts(rows, schema)}
    return {name: array for name, array in feeds.items() if array.shape[1]}


def numbers(rows: pa.Table, schema: dict[str, Any]) -> NDArray[np.float32]:
    """Shape (rows, numbers); NULL and infinity are NaN."""
    import numpy as np

    matrix = np.empty((rows.num_rows, len(schema["numbers"])), dtype=np.float32)
    for index, name in enumerate(schema["numbers"]):
        column = rows[name].cast("float64", safe=False).to_numpy()  # a bigint loses digits, as in float32
        with np.errstate(over="ignore"):
            matrix[:, index] = column
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def texts(rows: pa.Table, schema: dict[str, Any]) -> NDArray[np.object_]:
    """Shape (rows, categories); NULL is ""."""
    import numpy as np

    matrix = np.empty((rows.num_rows, len(schema["categories"])), dtype=object)
    for index, name in enumerate(schema["categories"]):
        matrix[:, index] = _read(rows[name], name, schema.get("texts")).to_numpy(zero_copy_only=False)
    return matrix


def codes(rows: pa.Table, schema: dict[str, Any]) -> NDArray[np.float32]:
    """Categories as the graph encodes them, shape (rows, categories): 0 unknown, 1 missing, 2.. the known ones."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    matrix = np.empty((rows.num_rows, len(schema["categories"])), dtype=np.float32)
    for index, (name, categories) in enumerate(schema["categories"].items()):
        values = _read(rows[name], name, schema.get("texts"))
        matrix[:, index] = pc.index_in(values, pa.array(["", *categories])).fill_null(-1).to_numpy() + 1
    return matrix


def read_text(text: str, name: str, rules: Mapping[str, Any] | None) -> str:
    """A text of column `name` as the dataset's SQL reads it; "" is missing. trim() of SQL takes blanks alone off."""
    if not rules or not text:
        return text
    text = text.strip(" ") if rules["trim"] else text
    text = "".join(map(_small, text)) if rules["lower"] else text
    return "" if text in rules["missing"].get(name, ()) else text


def _small(letter: str) -> str:
    """As Postgres' lower() has it: a letter stays one letter, wherever it stands."""
    small = letter.lower()
    return small if len(small) == 1 else letter


def _read(column: pa.ChunkedArray, name: str, rules: Mapping[str, Any] | None) -> pa.ChunkedArray:
    """`read_text` of a whole column, by its different values; NULL is ""."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.cast("string").fill_null("")
    if not rules:
        return values
    different = pc.unique(values)
    read = pa.array([read_text(text, name, rules) for text in different.to_pylist()], pa.string())
    return read.take(pc.index_in(values, different)) if len(read) else values


def _known(column: pa.ChunkedArray, params: FeaturesParams) -> list[str]:
    counted = [(item["counts"], item["values"]) for item in column.value_counts().to_pylist() if item["values"]]
    frequent = sorted((-count, value) for count, value in counted if count >= params.min_category_rows)
    return sorted(value for _, value in frequent[: params.max_categories])


def _range(column: pa.ChunkedArray) -> list[float | None]:
    import pyarrow.compute as pc

    numbers = column.cast("float64", safe=False)
    finite = pc.filter(numbers, pc.is_finite(numbers))
    ends = pc.min_max(finite).as_py()
    return [ends["min"], ends["max"]]


def _check_named(train: pa.Table, data: DataParams, params: FeaturesParams) -> None:
    for key, names in {"features.exclude": params.exclude, "data.personal": data.personal}.items():
        unknown = [name for name in names if name not in train.column_names]
        if unknown:
            raise EvergreenError(f"{key} names columns that the query does not return: {', '.join(unknown)}.")
