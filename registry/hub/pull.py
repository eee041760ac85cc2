"""Pull a set: everything is downloaded through the client's cache and checked before the store is touched."""

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
_MOST_EVALUATIONS = 10_000


@dataclass(frozen=True)
class Pulled:
    """What a pull brought.

    Attributes:
        stored: the set in the store.
        repo_id, revision: where it came from.
        evaluations: how many results came with it that the store did not have.
        from_cache: whether the Hub was not reached, so that a newer version may be there.
        was_here: whether the store had it already.
    """

    stored: StoredSet
    repo_id: str
    revision: str
    evaluations: int
    from_cache: bool
    was_here: bool


def pull(store: Store, repo_id: str, revision: str | None = None, name: SetName | None = None) -> Pulled:
    """Bring a set from the Hub into a store, checked, under its version's number: that of its tag at the same commit.

    Args:
        store: to keep it in.
        repo_id: `user/repo`.
        revision: a version's number or tag, another tag, a branch or a commit; None for the newest version, or main
            where there is none. Without a network it is looked up in the client's cache.
        name: what to call it; `user/repo` in small letters if not given. A set of no version must be given one, and
            is the name's next version.

    Raises:
        BadNameError: the repository's name cannot be a set's, or a set of no version was given none.
        ConflictError: the store has that version with other content.
        CorruptError: what came is damaged, was changed, or is too large.
        HubError: the Hub refused or cannot be reached, or the repository holds no set.
        MissingPackageError: the Hub's client is not installed.
    """
    require("`pull(...)`", "hub", "huggingface_hub")
    remote, local = Remote(parse_repo_id(repo_id)), name or _local_name(repo_id)
    wanted = None if revision is None else parse_revision(revision)
    sizes: dict[str, int] | None = None
    try:
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
            f"{repo_id} holds no set at {found}: it has no {MANIFEST} with {TENSORS}.",
            "Only repositories that were pushed with dsactl can be pulled; for others use the datasets library.",
        )
    got = _checked(remote, found, can_repeat=sizes is not None)
    commit, manifest = got.commit, got.manifest
    version = version_of(found) or version_of(_newest(tag for tag, at in tags.items() if at == commit) or "")
    if version is None and name is None:
        raise BadNameError(
            f"{repo_id} has no version at {found}: no tag like v1 points at it.",
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
    return Pulled(stored, repo_id, found, added, from_cache=sizes is None, was_here=stored.version in here)


def _local_name(repo_id: str) -> SetName:
    name = local_name(repo_id)
    if name is None:
        raise BadNameError(f"{repo_id!r} cannot be the name of a set.", "Name it with `name`, as [namespace/]name.")
    return parse_name(name)


def _newest(revisions: Iterable[str]) -> str | None:
    """The tag of the highest version, or None."""
    versions = [version for version in map(version_of, revisions) if version is not None]
    return tag_of(max(versions)) if versions else None


@dataclass(frozen=True)
class _Downloaded:
    """A set that came and was checked: the commit, the bytes of its file, and what they hold."""

    commit: str
    data: bytes
    tensors: Mapping[str, Array]
    manifest: Manifest


def _checked(remote: Remote, revision: str, *, can_repeat: bool) -> _Downloaded:
    """The set at a revision.

    A damaged copy stays in the client's cache; so what fails the checks is downloaded once more.
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
            "Someone changed one of them; ask who pushed it.",
        )
    return _Downloaded(commit, data, tensors, manifest)


def _optional(remote: Remote, name: str, commit: str, sizes: dict[str, int] | None) -> bytes | None:
    """A file that a set may lack.

    Args:
        remote, name, commit: which.
        sizes: of the files that are there; None where only the cache can tell.
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
    """The evaluations that came with a set.

    Raises:
        CorruptError: they are no list of results, or were measured on another set.
    """
    where = f"{EVALUATIONS} of {repo_id}"
    try:
        records = [] if data is None else json.loads(data, parse_constant=_no_constant)
        if not isinstance(records, list) or len(records) > _MOST_EVALUATIONS:
            raise CorruptError(f"{where} is not a list of results.")
        for record in records:
            if not isinstance(record, dict):
                raise CorruptError(f"{where} holds what is no result.")
            if record.get("digest", digest) != digest:
                raise CorruptError(f"{where} holds a result of another set.")
            check_result(record)
    except (ValueError, RecursionError) as error:
        raise CorruptError(f"{where} cannot be read: {error!s:.200}.") from None
    return records


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
