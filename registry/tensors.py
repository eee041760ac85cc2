"""Self-describing safetensors files: the tensors of a set or of a pool of experts, with the manifest in the header."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from registry.errors import CorruptError
from registry.manifest import SET, Manifest, TensorInfo, canonical, check_shapes, is_set, parse_json

Array = npt.NDArray[Any]

_DTYPES = {"images": np.float32, "labels": np.int64, "soft_labels": np.float32}
_WORDS = {np.dtype(np.float32): "F32", np.dtype(np.int64): "I64"}
MANIFEST_KEY = "dsactl.manifest"
"""Where a file has the manifest, as JSON."""
_SOFT_LABEL_TOLERANCE = 1e-3  # of the sum of a soft label, which should be one
MAX_HEADER_BYTES = 2**20  # a set of a thousand classes needs some 50 kB, a tensor of a pool some 300 bytes


def describe(tensors: Mapping[str, Array], kind: str = SET) -> dict[str, TensorInfo]:
    """Return the types, shapes and digests of the tensors of a set or of a pool of experts.

    Args:
        tensors: of a set, `images` N×C×H×W float32 and `labels` N int64; optionally `soft_labels` N×K float32, a
            distribution over the classes for each image. Of a pool, any of float32 or int64.
        kind: "set" or "experts".

    Raises:
        ValueError: wrong tensors, types or shapes.
    """
    if kind == SET and not is_set(tensors):
        raise ValueError(f"a set has the tensors images and labels, not {str(sorted(tensors))[:100]}")
    described = {}
    for name, array in tensors.items():
        if kind == SET and array.dtype != _DTYPES[name]:
            raise ValueError(f"{name} must be {np.dtype(_DTYPES[name])}, not {array.dtype}")
        if array.dtype not in _WORDS:
            raise ValueError(f"{name:.100} must be float32 or int64, not {array.dtype}")
        data = np.ascontiguousarray(array).data
        digest = hashlib.sha256(data).hexdigest() if array.size else hashlib.sha256().hexdigest()
        described[name] = TensorInfo(dtype=_WORDS[array.dtype], shape=list(array.shape), sha256=digest)
    if kind == SET:
        check_shapes({name: info.shape for name, info in described.items()})
    return described


def encode(tensors: Mapping[str, Array], manifest: Manifest) -> bytes:
    """Return a set or a pool of experts as the bytes of a safetensors file.

    Raises:
        ValueError: the header would exceed a megabyte, so that the file could not be read again.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    data = save(arrays, {MANIFEST_KEY: to_text(manifest)})
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise ValueError("the header of the file would exceed a megabyte")
    return data


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
    """Parse the file of a set or of a pool of experts, and verify it against its own manifest.

    Args:
        data: the file's bytes.
        where: name of the file, for error messages.

    Raises:
        CorruptError: it is no such file, or a tensor differs from the manifest.
        StoreError: it was written by a newer program.
    """
    if int.from_bytes(data[:8], "little") > MAX_HEADER_BYTES:
        raise CorruptError(f"{where} is not a safetensors file of a set: its header exceeds a megabyte.")
    try:
        arrays = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise CorruptError(f"{where} is not a safetensors file or is damaged ({error}).") from error
    manifest = parse_json(Manifest, _metadata(data, where), where)
    try:
        found = describe(arrays, manifest.kind)
    except ValueError as error:
        raise CorruptError(
            f"{where} does not hold {'a set' if manifest.kind == SET else 'experts'}: {error}."
        ) from error
    for name in found | manifest.tensors:
        if manifest.tensors.get(name) != found.get(name):
            raise CorruptError(f"{where}: the tensor {name!r} does not match the manifest.")
    _check_values(arrays, manifest, where)
    return arrays, manifest


def _check_values(arrays: Mapping[str, Array], manifest: Manifest, where: str) -> None:
    """Check the values of pixels and labels, or those of a pool's networks."""
    if manifest.kind != SET:
        for name, array in arrays.items():
            if not array.size or not np.isfinite([array.min(), array.max()]).all():
                raise CorruptError(f"{where}: the tensor {name!r} is empty, or has numbers that are not finite.")
        return
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
