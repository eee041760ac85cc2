"""A set as one safetensors file that explains itself: the tensors, and the manifest as JSON in the header."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from registry.errors import CorruptError
from registry.manifest import Manifest, TensorInfo, canonical, parse_json

Array = npt.NDArray[Any]

_DTYPES = {"images": ("F32", np.float32), "labels": ("I64", np.int64)}
_KEY = "dsactl.manifest"
_LONGEST_HEADER = 2**20  # a set of a thousand classes has some 50 kB


def describe(tensors: Mapping[str, Array]) -> dict[str, TensorInfo]:
    """Types, shapes and digests of the tensors of a set: `images` N×C×H×W float32 and `labels` N int64.

    Raises:
        ValueError: other tensors, types or shapes.
    """
    if set(tensors) != set(_DTYPES):
        raise ValueError(f"a set has the tensors {sorted(_DTYPES)}, not {str(sorted(tensors))[:100]}")
    described = {}
    for name, (word, dtype) in _DTYPES.items():
        array = np.ascontiguousarray(tensors[name])
        if array.dtype != dtype:
            raise ValueError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
        digest = hashlib.sha256(array.data).hexdigest() if array.size else hashlib.sha256().hexdigest()
        described[name] = TensorInfo(dtype=word, shape=list(array.shape), sha256=digest)
    if len(described["images"].shape) != 4 or described["labels"].shape != described["images"].shape[:1]:
        raise ValueError("images must be N×C×H×W with one label each")
    return described


def encode(tensors: Mapping[str, Array], manifest: Manifest) -> bytes:
    """The file's bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(arrays, {_KEY: canonical(manifest.model_dump(mode="json")).decode()})


def decode(data: bytes, where: str) -> tuple[dict[str, Array], Manifest]:
    """Read a set's file and check it against its own manifest.

    Args:
        data: the file's bytes.
        where: its name, for the error.

    Raises:
        CorruptError: it is not such a file, or a tensor is not the one that the manifest describes.
    """
    if int.from_bytes(data[:8], "little") > _LONGEST_HEADER:
        raise CorruptError(f"{where} is not a safetensors file of a set: its header would have more than a megabyte.")
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptError(f"{where} is not a safetensors file or is damaged ({error}).") from error
    manifest = parse_json(Manifest, _metadata(data, where), where)
    try:
        found = describe(arrays)
    except ValueError as error:
        raise CorruptError(f"{where} does not hold a set: {error}.") from error
    for name, info in found.items():
        if manifest.tensors.get(name) != info:
            raise CorruptError(f"{where}: the tensor {name!r} is not the one its manifest describes.")
    _check_values(arrays, manifest, where)
    return arrays, manifest


def _check_values(arrays: Mapping[str, Array], manifest: Manifest, where: str) -> None:
    """Refuse pixels and labels that make no sense."""
    images, labels, info = arrays["images"], arrays["labels"], manifest.dataset
    # The extremes are finite if all are, and finding them takes no memory.
    if not images.size or not np.isfinite([images.min(), images.max()]).all():
        raise CorruptError(f"{where}: it has no images, or pixels that are not finite.")
    if labels.min() < 0 or labels.max() >= len(info.class_names):
        raise CorruptError(f"{where}: labels outside of its {len(info.class_names)} classes.")


def _metadata(data: bytes, where: str) -> str:
    # `load` has checked that the header is whole JSON of the length that its first eight bytes say.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = header.get("__metadata__", {}).get(_KEY)
    if not isinstance(text, str):
        raise CorruptError(f"{where} has no manifest in its header.", "Only files written by dsactl have one.")
    return text
