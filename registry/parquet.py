"""Labelled images as one parquet file that `datasets`, pandas and any Arrow reader understand.

    image    struct<bytes: binary, path: string>    a PNG, and a name for it
    label    int64

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


def features(class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The two columns in the words of `datasets`.

    Args:
        class_names: K names, in the order of the labels.
    """
    return {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}


def write_parquet(images: Array, labels: Array, class_names: Sequence[str]) -> bytes:
    """The bytes of a parquet file.

    Args:
        images: N×H×W×C uint8; C is 1 (grey) or 3 (RGB).
        labels: N int64, in 0 … K-1.
        class_names: K names.

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
    metadata = {"huggingface": json.dumps({"info": {"features": features(class_names)}}, ensure_ascii=False)}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        metadata=metadata,
    )
    pictures = [{"bytes": png(image), "path": f"{index:05d}.png"} for index, image in enumerate(images)]
    columns = {"image": pictures, "label": labels}
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, row_group_size=ROWS_IN_A_GROUP)
    return buffer.getvalue()


def uncompressed_size(data: bytes) -> int:
    """Bytes of all columns of a parquet file before compression, as its footer says."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(io.BytesIO(data))
    return sum(int(metadata.row_group(index).total_byte_size) for index in range(metadata.num_row_groups))
