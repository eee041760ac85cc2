"""Files of a repository, created in memory, to be pushed or written to a folder."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from registry.card import Notes, Pictures, write_card, write_experts_card
from registry.errors import HubError, StoreError
from registry.export import Shown
from registry.extras import require
from registry.files import write_folder_atomically
from registry.hub.repository import CARD, EVALUATIONS, MANIFEST, PARQUET, PICTURE, TENSORS
from registry.manifest import SET
from registry.parquet import uncompressed_size, write_parquet
from registry.pictures import CHANNELS, to_pixels, to_uint8
from registry.reader import Reader
from registry.records import StoredSet


def require_packages() -> None:
    """Check that the packages for creating and pushing a repository are installed.

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
    shown: Shown | None = None,
) -> dict[str, bytes]:
    """Return all files of the repository of a set, or of a pool of experts.

    Args:
        store: the store that has the set.
        stored: the set.
        repo_id: `user/repo`, for the card.
        notes: statements by the person who pushes the set.
        evaluations: evaluation results of the set.
        shown: for a set whose images are not stored as they are to be seen; what the pictures have.

    Returns:
        Contents by path: the card, the exact tensors, the manifest; and of a set pictures as parquet, the evaluations,
        and the picture of the whole set if it has one.

    Raises:
        CorruptError: the set or its picture is damaged.
        HubError: the images are neither grey nor RGB.
        MissingPackageError: see `require_packages`.
    """
    require_packages()
    tensors, picture = store.tensors(stored), store.picture_bytes(stored)
    exact = {TENSORS: store.file_bytes(stored), MANIFEST: _json(stored.manifest.model_dump(mode="json"))}
    if stored.kind != SET:
        return {CARD: write_experts_card(stored, repo_id, notes).encode(), **exact}
    if shown is not None:
        tensors = dict(shown(tensors))
    channels = tensors["images"].shape[1]
    if channels not in CHANNELS:
        raise HubError(f"{stored.reference} has images with {channels} channels.", "Only grey and RGB can be pushed.")
    info = stored.manifest.dataset
    images, clipped = to_uint8(to_pixels(tensors["images"], info.mean, info.std))
    parquet = write_parquet(images, tensors["labels"], info.class_names, tensors.get("soft_labels"))
    pictures = Pictures(len(images), PARQUET, len(parquet), uncompressed_size(parquet), clipped, images.size)
    picture_path = None if picture is None else PICTURE
    files = {
        CARD: write_card(stored, repo_id, notes, evaluations, pictures, picture_path).encode(),
        PARQUET: parquet,
        **exact,
        EVALUATIONS: _json([dict(record) for record in evaluations]),
    }
    if picture is not None:
        files[PICTURE] = picture
    return files


def write_folder(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a repository's files to a folder atomically. An existing folder may only contain such files.

    Args:
        out: path of the folder.
        files: contents by path.

    Raises:
        StoreError: the folder contains other files, or is not writable.
    """
    try:
        if os.path.lexists(out) and not _contains_only_known_files(out):
            raise StoreError(f"{out} already exists and contains other files.", "Name another folder with `out`.")
    except OSError as error:
        raise StoreError(f"Cannot read {out}: {error.strerror or error}.", "Name another folder with `out`.") from error
    try:
        write_folder_atomically(out, files)
    except StoreError as error:
        raise StoreError(error.message, "Free space, or name another folder with `out`.") from error


def _contains_only_known_files(folder: Path) -> bool:
    """Return whether a path is a folder that contains only files of a repository."""
    known = {CARD, PARQUET, TENSORS, MANIFEST, EVALUATIONS, PICTURE}
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    return {path.relative_to(folder).as_posix() for path in found} <= known


def _json(value: object) -> bytes:
    """Return indented JSON, UTF-8."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
