"""Labelled images as a parquet file for `datasets`, pandas and any Arrow reader.

    image    struct<bytes: binary, path: string>    a PNG, and a name for it
    label    int64
    soft_label    list<float>, a number for each class, if the set has soft labels

The entry `huggingface` of the schema's metadata tells `datasets` that `image` is an Image feature and `label` a
ClassLabel with these names. An exported file has the set's manifest there too.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from registry.errors import CorruptError, RegistryError
from registry.extras import require
from registry.importing import MAX_BYTES, read_file, read_pictures
from registry.pictures import CHANNELS, png
from registry.tensors import MANIFEST_KEY, Array

ROWS_PER_GROUP = 100
"""The group size of `datasets` for images, with which a viewer reads a page of rows instead of the file."""


_ROWS_AT_ONCE = 10  # read, before their size is looked at
_ROW_BYTES = 500  # of a row's Python objects, besides its content
_TIMES, _FREE = 1000, 2**26  # rows may have so many times the file's bytes, and so many more; pictures hardly shrink


def features(class_names: Sequence[str], *, soft: bool = False) -> dict[str, dict[str, Any]]:
    """Return the columns as features of `datasets`.

    Args:
        class_names: K names, in the order of the labels.
        soft: whether there are soft labels.
    """
    columns: dict[str, dict[str, Any]] = {
        "image": {"_type": "Image"},
        "label": {"names": list(class_names), "_type": "ClassLabel"},
    }
    if soft:
        # "List" since datasets 4, which reads "Sequence" as well.
        columns["soft_label"] = {"feature": {"dtype": "float32", "_type": "Value"}, "_type": "Sequence"}
    return columns


def write_parquet(
    images: Array,
    labels: Array,
    class_names: Sequence[str],
    soft_labels: Array | None = None,
    manifest: str | None = None,
) -> bytes:
    """Return labelled images as the bytes of a parquet file.

    Args:
        images: N×H×W×C uint8; C is 1 (grey) or 3 (RGB).
        labels: N int64, in 0 … K-1.
        class_names: K names.
        soft_labels: N×K float32, or None.
        manifest: text of the set's manifest, which `read_parquet` returns; None for none.

    Raises:
        ValueError: wrong types or shapes, or labels without a class name.
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
    if manifest is not None:
        metadata[MANIFEST_KEY] = manifest
    types = [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())]
    pictures = [{"bytes": png(image), "path": f"{index:05d}.png"} for index, image in enumerate(images)]
    columns: dict[str, Any] = {"image": pictures, "label": labels}
    if soft_labels is not None:
        types.append(("soft_label", pa.list_(pa.float32())))
        columns["soft_label"] = list(soft_labels)
    schema = pa.schema(types, metadata=metadata)
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, row_group_size=ROWS_PER_GROUP)
    return buffer.getvalue()


def uncompressed_size(data: bytes) -> int:
    """Return the size of all columns of a parquet file before compression, from its footer."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(io.BytesIO(data))
    return sum(int(metadata.row_group(index).total_byte_size) for index in range(metadata.num_row_groups))


def read_parquet(path: Path) -> dict[str, Any]:
    """Read labelled images that `write_parquet` wrote.

    Returns:
        `images` N×H×W×C uint8, `labels` N numbers, of `write_parquet` int64; `soft_labels` N×K
        float32 and the text of the manifest, if there.

    Raises:
        RegistryError: it is not a file, is too large, or of other columns.
        CorruptError: it is damaged.
        MissingPackageError: pyarrow is not installed.
    """
    require("`import_sets(...)`", "hub", "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    other = RegistryError(f"{path} has other than pictures and class numbers in its columns.")
    rows: list[dict[str, Any]] = []
    try:
        data = read_file(path)
        file = pq.ParquetFile(io.BytesIO(data))
        names, metadata = file.schema_arrow.names, file.schema_arrow.metadata or {}
        columns = [name for name in ("image", "label", "soft_label") if name in names]
        unknown = RegistryError(
            f"{path} has the columns {', '.join(names)[:100]}; expected image and label.",
            "Only parquet files of dsactl and the Hub's image sets are read.",
        )
        if not {"image", "label"} <= set(names):
            raise unknown
        left = limit = min(MAX_BYTES, _TIMES * len(data) + _FREE)
        # The footer may lie about sizes, and a few bytes may stand for many equal rows.
        for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
            left -= batch.nbytes + _ROW_BYTES * len(batch)
            if left < 0:
                raise RegistryError(f"The columns of {path} have more than {limit:,} bytes.", "Is it a condensed set?")
            found = batch.to_pylist()
            if not all(_has_picture(row) for row in found):
                raise other
            rows += found
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptError(f"{path} is damaged ({' '.join(str(error).split()):.100}).") from error
    if not rows:
        raise RegistryError(f"{path} has no rows.")
    try:
        pictures = [row["image"]["bytes"] for row in rows]
        labels = np.array([row["label"] for row in rows])  # which may be fractions; whoever uses them says so
        if labels.dtype.kind not in "iufb":
            raise other
        soft = np.array([row["soft_label"] for row in rows], np.float32) if "soft_label" in rows[0] else None
    except (TypeError, ValueError, OverflowError) as error:
        raise other from error
    content: dict[str, Any] = {"images": read_pictures(pictures, str(path)), "labels": labels}
    if soft is not None:
        content["soft_labels"] = soft
    manifest = metadata.get(MANIFEST_KEY.encode())
    return content if manifest is None else {**content, MANIFEST_KEY: manifest.decode(errors="replace")}


def _has_picture(row: dict[str, Any]) -> bool:
    image = row["image"]
    return isinstance(image, dict) and isinstance(image.get("bytes"), bytes) and bool(image["bytes"])
