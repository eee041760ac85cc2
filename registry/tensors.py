"""Self-describing safetensors files: a set's tensors, with the manifest as JSON in the header."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from registry.errors import CorruptError
from registry.manifest import Manifest, TensorInfo, canonical, check_shapes, is_set, parse_json

Array = npt.NDArray[Any]

_DTYPES = {"images": ("F32", np.float32), "labels": ("I64", np.int64), "soft_labels": ("F32", np.float32)}
MANIFEST_KEY = "dsactl.manifest"
"""Where a file has a set's manifest, as JSON."""
_SOFT_LABEL_TOLERANCE = 1e-3  # of the sum of a soft label, which should be one
MAX_HEADER_BYTES = 2**20  # a set of a thousand classes needs some 50 kB


def describe(tensors: Mapping[str, Array]) -> dict[str, TensorInfo]:
    """Return the types, shapes and digests of a set's tensors.

    Args:
        tensors: `images` N×C×H×W float32 and `labels` N int64; optionally `soft_labels` N×K float32, a distribution
            over the classes for each image.

    Raises:
        ValueError: wrong tensors, types or shapes.
    """
    if not is_set(tensors):
        raise ValueError(f"a set has the tensors images and labels, not {str(sorted(tensors))[:100]}")
    described = {}
    for name in tensors:
        word, dtype = _DTYPES[name]
        array = np.ascontiguousarray(tensors[name])
        if array.dtype != dtype:
            raise ValueError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
        digest = hashlib.sha256(array.data).hexdigest() if array.size else hashlib.sha256().hexdigest()
        described[name] = TensorInfo(dtype=word, shape=list(array.shape), sha256=digest)
    check_shapes({name: info.shape for name, info in described.items()})
    return described


def encode(tensors: Mapping[str, Array], manifest: Manifest) -> bytes:
    """Return a set as the bytes of a safetensors file."""
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    return save(arrays, {MANIFEST_KEY: to_text(manifest)})


def to_text(manifest: Manifest) -> str:
    """Return a manifest as canonical JSON."""
    return canonical(manifest.model_dump(mode="json")).decode()


def has_manifest(data: bytes) -> bool:
    """Return whether the first bytes of a safetensors file, with the header, have a manifest; False if damaged."""
    size = int.from_bytes(data[:8], "little")
    try:
        return size <= MAX_HEADER_BYTES and MANIFEST_KEY in json.loads(data[8 : 8 + size])["__metadata__"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def decode(data: bytes, where: str) -> tuple[dict[str, Array], Manifest]:
    """Parse a set's file and verify it against its own manifest.

    Args:
        data: the file's bytes.
        where: name of the file, for error messages.

    Raises:
        CorruptError: it is not a set's file, or a tensor differs from the manifest.
    """
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise CorruptError(f"{where} is not a safetensors file of a set: its header exceeds a megabyte.")
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptError(f"{where} is not a safetensors file or is damaged ({error}).") from error
    manifest = parse_json(Manifest, _metadata(data, where), where)
    try:
        found = describe(arrays)
    except ValueError as error:
        raise CorruptError(f"{where} does not hold a set: {error}.") from error
    for name in found | manifest.tensors:
        if manifest.tensors.get(name) != found.get(name):
            raise CorruptError(f"{where}: the tensor {name!r} does not match the manifest.")
    _check_values(arrays, manifest, where)
    return arrays, manifest


def _check_values(arrays: Mapping[str, Array], manifest: Manifest, where: str) -> None:
    """Check the values of pixels and labels."""
    images, labels, info = arrays["images"], arrays["labels"], manifest.dataset
    # All values are finite if the extremes are, which are found without extra memory.
    if not images.size or not np.isfinite([images.min(), images.max()]).all():
        raise CorruptError(f"{where}: it has no images, or pixels that are not finite.")
    if labels.min() < 0 or labels.max() >= len(info.class_names):
        raise CorruptError(f"{where}: labels outside of its {len(info.class_names)} classes.")
    soft = arrays.get("soft_labels")
    if soft is not None and not (soft.min() >= 0 and np.abs(soft.sum(axis=1) - 1).max() <= _SOFT_LABEL_TOLERANCE):
        raise CorruptError(f"{where}: soft labels are not distributions over the classes: they do not sum to one.")


def _metadata(data: bytes, where: str) -> str:
    # `load` has checked that the header is valid JSON of the length in the first eight bytes.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = header.get("__metadata__", {}).get(MANIFEST_KEY)
    if not isinstance(text, str):
        raise CorruptError(f"{where} has no manifest in its header.", "Only files written by dsactl have one.")
    return text
