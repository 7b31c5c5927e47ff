"""Arrow columns as the bytes of Postgres' COPY BINARY, without a Python object a row.

The format (PostgreSQL documentation, COPY, "Binary Format"): a header; a row is its number of fields as int16, and each
field its length as int32 and its bytes, most significant first; a trailer.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)
EPOCH_DAYS = 10_957  # from 1970-01-01, Arrow's first day, to 2000-01-01, Postgres'


def rows(columns: Sequence[pa.Array | bytes]) -> pa.Buffer:
    """The rows of some columns, to be written between HEADER and TRAILER.

    Args:
        columns: in the order of the COPY statement. Arrays of bool, int16, int32, int64, float64, date32, string or
            fixed-size binary (such as the 16 bytes of a uuid), of one length and without nulls; `bytes` are a field as it
            goes over the wire, the same in every row.

    Raises:
        ValueError: an array has nulls, or a type that is not among these.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    count = next(len(column) for column in columns if not isinstance(column, bytes))
    parts: list[pa.Array] = []
    fixed: list[NDArray[np.uint8]] = [_repeated(struct.pack("!h", len(columns)), count)]
    for column in columns:
        if isinstance(column, bytes):
            fixed.append(_repeated(struct.pack("!i", len(column)) + column, count))
        elif column.null_count:
            raise ValueError(f"a column of {column.type} has {column.null_count} nulls")
        elif pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            fixed.append(_bytes_of(pc.binary_length(column).to_numpy().astype(">i4")))
            parts += [_binary(fixed), column.cast(pa.large_binary())]
            fixed = []
        else:
            values = _bytes_of(_wire(column))
            fixed += [_repeated(struct.pack("!i", values.shape[1]), count), values]
    if fixed:
        parts.append(_binary(fixed))
    joined = pc.binary_join_element_wise(*parts, pa.scalar(b"", pa.large_binary())) if len(parts) > 1 else parts[0]
    offsets, content = joined.buffers()[1:]
    return content.slice(0, struct.unpack_from("=q", offsets, 8 * count)[0])


def uuids(count: int) -> pa.Array:
    """Identifiers, version 7 (RFC 9562), as fixed-size binary of 16 bytes: 48 bits of time in milliseconds, 74 of chance."""
    import os
    import time

    import numpy as np
    import pyarrow as pa

    drawn = np.frombuffer(os.urandom(16 * count), dtype=np.uint8).reshape(count, 16).copy()
    drawn[:, :6] = np.frombuffer(int(time.time() * 1000).to_bytes(6, "big"), dtype=np.uint8)
    drawn[:, 6] = drawn[:, 6] & 0x0F | 0x70
    drawn[:, 8] = drawn[:, 8] & 0x3F | 0x80
    return pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(drawn)])


def _wire(column: pa.Array) -> Any:
    """Values as Postgres reads them: a numpy array, big-endian, one item a row."""
    import numpy as np
    import pyarrow.types as types

    if types.is_fixed_size_binary(column.type):
        width = column.type.byte_width
        taken = np.frombuffer(column.buffers()[1], dtype=np.uint8)
        return taken[column.offset * width : (column.offset + len(column)) * width].reshape(len(column), width)
    if types.is_boolean(column.type):
        return column.cast("uint8").to_numpy()
    if types.is_date32(column.type):
        return (column.cast("int32").to_numpy() - EPOCH_DAYS).astype(">i4")
    if types.is_float64(column.type) or str(column.type) in {"int16", "int32", "int64"}:
        values = column.to_numpy()
        return values.astype(values.dtype.newbyteorder(">"))
    raise ValueError(f"a column of {column.type} has no binary form here")


def _bytes_of(values: Any) -> NDArray[np.uint8]:
    """Shape (rows, bytes of an item)."""
    import numpy as np

    return np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)


def _repeated(content: bytes, count: int) -> NDArray[np.uint8]:
    import numpy as np

    return np.broadcast_to(np.frombuffer(content, dtype=np.uint8), (count, len(content)))


def _binary(blocks: Sequence[NDArray[np.uint8]]) -> pa.Array:
    """Blocks of fixed width, side by side, as one binary value a row."""
    import numpy as np
    import pyarrow as pa

    bytes_ = np.concatenate(blocks, axis=1)
    count, width = bytes_.shape
    offsets = np.arange(count + 1, dtype=np.int64) * width
    return pa.Array.from_buffers(pa.large_binary(), count, [None, pa.py_buffer(offsets), pa.py_buffer(bytes_)])
