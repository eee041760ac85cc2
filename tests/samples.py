"""Small sets of random numbers, for tests of the registry."""

import struct
from pathlib import Path

import numpy as np

import registry
from registry.tensors import Array, describe, encode

NAME = registry.parse_name("digits-dsa-convnet-ipc1")
OTHER = registry.parse_name("lab/other")


def tensors(seed: int = 0) -> dict[str, Array]:
    """Two images of each of two classes."""
    source = np.random.default_rng(seed)
    return {"images": source.normal(size=(4, 1, 3, 3)).astype(np.float32), "labels": np.array([0, 0, 1, 1])}


def manifest(arrays: dict[str, Array], **provenance: registry.JsonValue) -> registry.Manifest:
    """Of such tensors."""
    return registry.Manifest(
        dataset=registry.DatasetInfo(
            name="digits",
            split="train",
            checksum="0" * 64,
            class_names=["a", "ö"],
            mean=[0.5],
            std=[0.25],
            counts=[3, 4],
        ),
        method="dsa",
        recipe={"ipc": 2, "strategy": ["crop"]},
        network="convnet",
        seed=0,
        tensors=describe(arrays),
        provenance={"created": "2026-01-01", **provenance},
    )


def put(
    store: registry.Store, seed: int = 0, name: registry.SetName = NAME, version: int | None = None
) -> registry.StoredSet:
    """Store the set of a seed."""
    arrays = tensors(seed)
    about = manifest(arrays)
    return store.put_file(name, encode(arrays, about), arrays, about, b"png", version=version)


def find(store: registry.Store, text: str) -> registry.StoredSet:
    """The set that a reference means."""
    return store.find(registry.parse_reference(text))


def write_idx(root: Path, folder: str, counts: tuple[int, int] = (30, 20)) -> dict[str, np.ndarray]:
    """A data set of noise in the files of MNIST, its training and test images in order.

    Args:
        root: the data folder.
        folder: of the set in it.
        counts: of training and test images.
    """
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    source, arrays = np.random.default_rng(0), {}
    for part, count in zip(("train", "t10k"), counts, strict=True):
        images = source.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels.tobytes())
        arrays[part] = images
    return arrays
