"""Pulling a set: all files are downloaded through the client's cache and verified before the store is changed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from registry.card import local_name
from registry.errors import BadNameError, CorruptError
from registry.extras import require
from registry.hub.errors import MissingError, UnreachableError
from registry.hub.remote import Remote
from registry.hub.repository import (
    EVALUATIONS,
    MANIFEST,
    PICTURE,
    TENSORS,
    parse_repo_id,
    parse_revision,
    tag_of,
    version_of,
)
from registry.manifest import Manifest, parse_json
from registry.names import SetName, parse_name
from registry.records import StoredSet
from registry.results import check_result
from registry.store import Store
from registry.tensors import Array, decode

_PNG = b"\x89PNG\r\n\x1a\n"
_MAX_EVALUATIONS = 10_000


@dataclass(frozen=True)
class Pulled:
    """Result of a pull.

    Attributes:
        stored: the set in the store.
        repo_id, revision: its origin; the new name of a renamed repository.
        evaluations: number of evaluation results that were new to the store.
        from_cache: whether the Hub was not reachable, so that it may have a newer version.
        was_here: whether the store already had the set.
    """

    stored: StoredSet
    repo_id: str
    revision: str
    evaluations: int
    from_cache: bool
    was_here: bool


def pull(store: Store, repo_id: str, revision: str | None = None, name: SetName | None = None) -> Pulled:
    """Download a set or pool from the Hub, verify it, and store it under the version number of the tag at its commit.

    Args:
        store: the store to put the set in.
        repo_id: `user/repo`, or its web address.
        revision: a version's number or tag, another tag, a branch or a commit; None for the newest version, or main
            if there is none. Without a network it is looked up in the client's cache.
        name: name of the set; `user/repo` in lower case if not given. A name is required for a commit without a
            version tag, which becomes the name's next version.

    Raises:
        BadNameError: no name was given, and the repository's name is not a set's or the commit has no version tag.
        ConflictError: the store has that version with other content.
        CorruptError: the downloaded set is damaged, was modified, or is too large.
        HubError: the Hub refused or cannot be reached, or the repository has no set.
        MissingPackageError: the Hub's client is not installed.
    """
    require("`pull(...)`", "hub", "huggingface_hub")
    repo_id = parse_repo_id(repo_id)
    remote, local = Remote(repo_id), name or _local_name(repo_id)
    wanted = None if revision is None else parse_revision(revision)
    sizes: dict[str, int] | None = None
    try:
        remote.look_up()
        tags = remote.refs()[0]
        found = wanted or _newest(tags) or "main"
        sizes = remote.sizes(found)
    except UnreachableError:
        tags = remote.cached_revisions()
        found = wanted or _newest(tags) or ("main" if "main" in tags else "")
        if not found:
            raise
    if sizes is not None and not {MANIFEST, TENSORS} <= set(sizes):
        raise MissingError(
            f"{repo_id} has no set at {found}: {MANIFEST} or {TENSORS} is missing.",
            "Only repositories that were pushed with dsactl can be pulled; for others use the datasets library.",
        )
    got = _download_checked(remote, found, can_repeat=sizes is not None)
    commit, manifest = got.commit, got.manifest
    version = version_of(found) or version_of(_newest(tag for tag, at in tags.items() if at == commit) or "")
    if version is None and name is None:
        raise BadNameError(
            f"{repo_id} has no version at {found}: no tag like v1 points to it.",
            "Name it with `name`, as [namespace/]name; it then gets a version number of its own.",
        )
    picture = _optional(remote, PICTURE, commit, sizes)
    records = _records(_optional(remote, EVALUATIONS, commit, sizes), manifest.digest, repo_id)
    if picture is not None and not picture.startswith(_PNG):
        raise CorruptError(f"{PICTURE} of {repo_id} is not a PNG.")
    here = set(store.versions(local))
    stored = store.put_file(local, got.data, got.tensors, manifest, picture, version=version)
    before = len(store.evaluations(stored.digest))
    for record in records:
        store.add_evaluation(stored.digest, record)
    added = len(store.evaluations(stored.digest)) - before
    return Pulled(stored, remote.repo_id, found, added, from_cache=sizes is None, was_here=stored.version in here)


def _local_name(repo_id: str) -> SetName:
    name = local_name(repo_id)
    if name is None:
        raise BadNameError(f"{repo_id!r} cannot be the name of a set.", "Name it with `name`, as [namespace/]name.")
    return parse_name(name)


def _newest(revisions: Iterable[str]) -> str | None:
    """Return the tag of the highest version, or None."""
    versions = [version for version in map(version_of, revisions) if version is not None]
    return tag_of(max(versions)) if versions else None


@dataclass(frozen=True)
class _Downloaded:
    """Downloaded and verified set: its commit, the bytes of its file, and their content."""

    commit: str
    data: bytes
    tensors: Mapping[str, Array]
    manifest: Manifest


def _download_checked(remote: Remote, revision: str, *, can_repeat: bool) -> _Downloaded:
    """Download and verify the set at a revision.

    A damaged file stays in the client's cache, so files that fail verification are downloaded once more.
    """
    try:
        return _download(remote, revision, again=False)
    except CorruptError:
        if not can_repeat:
            raise
    return _download(remote, revision, again=True)


def _download(remote: Remote, revision: str, *, again: bool) -> _Downloaded:
    text, commit = remote.read(MANIFEST, revision, again=again)
    stated = parse_json(Manifest, text, f"{MANIFEST} of {remote.repo_id}")
    data, _ = remote.read(TENSORS, commit, again=again)
    tensors, manifest = decode(data, f"{TENSORS} of {remote.repo_id}")
    if manifest != stated:
        raise CorruptError(
            f"{MANIFEST} and {TENSORS} of {remote.repo_id} at {revision} are not of the same set.",
            "One of them was modified; ask the owner of the repository.",
        )
    return _Downloaded(commit, data, tensors, manifest)


def _optional(remote: Remote, name: str, commit: str, sizes: dict[str, int] | None) -> bytes | None:
    """Download an optional file of a set; return None if there is none.

    Args:
        remote, name, commit: the repository, path and commit of the file.
        sizes: sizes of the existing files; None if the Hub is not reachable.
    """
    if sizes is not None and name not in sizes:
        return None
    try:
        return remote.read(name, commit)[0]
    except UnreachableError:
        if sizes is None:
            return None
        raise


def _records(data: bytes | None, digest: str, repo_id: str) -> list[dict[str, JsonValue]]:
    """Parse the evaluations that come with a set.

    Raises:
        CorruptError: they are not a list of results, or belong to another set.
    """
    where = f"{EVALUATIONS} of {repo_id}"
    try:
        records = [] if data is None else json.loads(data, parse_constant=_no_constant)
        if not isinstance(records, list) or len(records) > _MAX_EVALUATIONS:
            raise CorruptError(f"{where} is not a list of results.")
        for record in records:
            if not isinstance(record, dict):
                raise CorruptError(f"{where} contains an entry that is not a result.")
            if record.get("digest", digest) != digest:
                raise CorruptError(f"{where} contains a result of another set.")
            check_result(record)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{where} cannot be read: {error!s:.200}.") from None
    return records


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
