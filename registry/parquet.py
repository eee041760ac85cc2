"""Labelled images as one parquet file that `datasets`, pandas and any Arrow reader understand.

    image    struct<bytes: binary, path: string>    a PNG, and a name for it
    label    int64
    soft_label    list<float>, a number for each class, where the set has them

The schema's metadata has the entry `huggingface`, from which `datasets` knows that `image` is an Image feature and
`label` a ClassLabel with its names.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from registry.pictures import CHANNELS, png
from registry.tensors import Array

ROWS_IN_A_GROUP = 100
"""As `datasets` writes images, so that a viewer reads a page of rows and not the file."""


def features(class_names: Sequence[str], *, soft: bool = False) -> dict[str, dict[str, Any]]:
    """The columns in the words of `datasets`.

    Args:
        class_names: K names, in the order of the labels.
        soft: whether there are soft labels.
    """
    columns: dict[str, dict[str, Any]] = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    if soft:
        columns["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "List"}
    return columns


def write_parquet(images: Array, labels: Array, class_names: Sequence[str], soft_labels: Array | None = None) -> bytes:
    """The bytes of a parquet file.

    Args:
        images: N×H×W×C uint8; C is 1 (grey) or 3 (RGB).
        labels: N int64, in 0 … K-1.
        class_names: K names.
        soft_labels: N×K float32, or None.

    Raises:
        ValueError: other types or shapes, or labels that have no name.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in CHANNELS:
        raise ValueError(f"images must be N×H×W×1 or N×H×W×3 uint8, not {images.dtype} of shape {images.shape}")
    if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be {len(images)} int64, not {labels.dtype} of shape {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < len(class_names):
        raise ValueError(f"labels outside of the {len(class_names)} classes")
    known = features(class_names, soft=soft_labels is not None)
    metadata = {"huggingface": json.dumps({"info": {"features": known}}, ensure_ascii=False)}
    types = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())]
    pictures = [{"bytes": png(image), "path": f"{index:05d}.png"} for index, image in enumerate(images)]
    columns: dict[str, Any] = {"image": pictures, "label": labels}
    if soft_labels is not None:
        types.append(("soft_label", pa.list_(pa.float32())))
        columns["soft_label"] = list(soft_labels)
    schema = pa.schema(types, metadata=metadata)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, row_group_size=ROWS_IN_A_GROUP)
    return buffer.getvalue()


def uncompressed_size(data: bytes) -> int:
    """Bytes of all columns of a parquet file before compression, as its footer says."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(io.BytesIO(data))
    return sum(int(metadata.row_group(index).total_byte_size) for index in range(metadata.num_row_groups))
