"""The files of a repository: made in memory, pushed or written to a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from registry.card import Notes, Pictures, write_card
from registry.errors import HubError, StoreError
from registry.files import write_atomically
from registry.hub.repository import CARD, EVALUATIONS, MANIFEST, PARQUET, PICTURE, TENSORS
from registry.parquet import uncompressed_size, write_parquet
from registry.pictures import CHANNELS, to_pixels, to_uint8
from registry.reader import Reader
from registry.records import StoredSet


def repository_files(
    store: Reader,
    stored: StoredSet,
    repo_id: str,
    notes: Notes,
    evaluations: Sequence[Mapping[str, JsonValue]],
) -> dict[str, bytes]:
    """Everything that a repository of a set holds.

    Args:
        store: has the set.
        stored: the set.
        repo_id: `user/repo`, for the card.
        notes: what the pusher says about the set.
        evaluations: what was measured on it.

    Returns:
        Contents by path: the card, pictures as parquet, the exact tensors, the manifest, the evaluations, and the
        picture of the whole set where it has one.

    Raises:
        CorruptError: the set is damaged.
        HubError: its images are neither grey nor RGB.
    """
    tensors = store.tensors(stored)
    channels = tensors["images"].shape[1]
    if channels not in CHANNELS:
        raise HubError(f"{stored.reference} has images of {channels} channels.", "Only grey and RGB can be pushed.")
    info = stored.manifest.dataset
    images, clipped = to_uint8(to_pixels(tensors["images"], info.mean, info.std))
    parquet = write_parquet(images, tensors["labels"], info.class_names)
    pictures = Pictures(PARQUET, len(parquet), uncompressed_size(parquet), clipped, images.size)
    whole = PICTURE if stored.picture else None
    files = {
        CARD: write_card(stored, repo_id, notes, evaluations, pictures, whole).encode(),
        PARQUET: parquet,
        TENSORS: store.file_bytes(stored),
        MANIFEST: _json(stored.manifest.model_dump(mode="json")),
        EVALUATIONS: _json([dict(record) for record in evaluations]),
    }
    if stored.picture:
        files[PICTURE] = stored.picture.read_bytes()
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a repository's files under a folder that is new or empty.

    Raises:
        StoreError: it is neither, or cannot be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StoreError(f"{folder} is there and not empty.", "Name another folder with --out.")
    for path, data in files.items():
        write_atomically(folder / path, data)


def _json(value: object) -> bytes:
    """JSON for people and programs, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
