"""The files of a repository: made in memory, pushed or written to a folder."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from registry.card import Notes, Pictures, write_card
from registry.errors import HubError, StoreError
from registry.extras import require
from registry.files import write_folder_atomically
from registry.hub.repository import CARD, EVALUATIONS, MANIFEST, PARQUET, PICTURE, TENSORS
from registry.parquet import uncompressed_size, write_parquet
from registry.pictures import CHANNELS, to_pixels, to_uint8
from registry.reader import Reader
from registry.records import StoredSet


def require_packages() -> None:
    """Refuse to push, and to make what would be pushed, without the packages for it.

    Raises:
        MissingPackageError: the Hub's client or pyarrow is not installed.
    """
    require("`push(...)`", "hub", "huggingface_hub", "pyarrow")


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
        CorruptError: the set or its picture is damaged.
        HubError: its images are neither grey nor RGB.
        MissingPackageError: see `require_packages`.
    """
    require_packages()
    tensors, picture = store.tensors(stored), store.picture_bytes(stored)
    channels = tensors["images"].shape[1]
    if channels not in CHANNELS:
        raise HubError(f"{stored.reference} has images of {channels} channels.", "Only grey and RGB can be pushed.")
    info = stored.manifest.dataset
    images, clipped = to_uint8(to_pixels(tensors["images"], info.mean, info.std))
    parquet = write_parquet(images, tensors["labels"], info.class_names, tensors.get("soft_labels"))
    pictures = Pictures(PARQUET, len(parquet), uncompressed_size(parquet), clipped, images.size)
    whole = None if picture is None else PICTURE
    files = {
        CARD: write_card(stored, repo_id, notes, evaluations, pictures, whole).encode(),
        PARQUET: parquet,
        TENSORS: store.file_bytes(stored),
        MANIFEST: _json(stored.manifest.model_dump(mode="json")),
        EVALUATIONS: _json([dict(record) for record in evaluations]),
    }
    if picture is not None:
        files[PICTURE] = picture
    return files


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a repository's files as a folder, whole or not at all; what is there may hold nothing but such files.

    Raises:
        StoreError: it is none of these, or cannot be written to.
    """
    try:
        if os.path.lexists(folder) and not _holds_only_ours(folder):
            raise StoreError(f"{folder} is there, with more than such files.", "Name another folder with `out`.")
    except OSError as error:
        raise StoreError(
            f"Cannot read {folder}: {error.strerror or error}.", "Name another folder with `out`."
        ) from error
    try:
        write_folder_atomically(folder, files)
    except StoreError as error:
        raise StoreError(error.message, "Free space, or name another folder with `out`.") from error


def _holds_only_ours(folder: Path) -> bool:
    """Whether a path is a folder with nothing in it but files of a repository."""
    ours = {CARD, PARQUET, TENSORS, MANIFEST, EVALUATIONS, PICTURE}
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    return {path.relative_to(folder).as_posix() for path in found} <= ours


def _json(value: object) -> bytes:
    """JSON for people and programs, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
