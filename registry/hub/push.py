"""Pushing a set: one commit to main, then a tag for the version.

A version exists once it has a tag. After an interruption between commit and tag, the next push recognises the commit
by its content and only adds the tag. Main has the set that was pushed last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from registry.card import Notes
from registry.errors import ConflictError, CorruptError, HubError
from registry.export import Shown
from registry.hub.errors import MissingError
from registry.hub.folder import repository_files, require_packages
from registry.hub.remote import Remote
from registry.hub.repository import MANIFEST, PICTURE, parse_repo_id, tag_of
from registry.manifest import SET, Manifest, parse_json
from registry.reader import Reader
from registry.records import StoredSet

Outcome = Literal["pushed", "tagged", "proposed", "unchanged"]


@dataclass(frozen=True)
class Pushed:
    """Result of a push.

    Attributes:
        repo_id, version: `user/repo`, which is the new name of a renamed repository, and the version number.
        digest: digest of the content.
        outcome: "pushed", a commit and its tag; "tagged", only a tag for the existing content of main; "proposed", a
            pull request without a tag; "unchanged", if the version or the proposed content already existed.
        address: URL of the tag, of main, or of the pull request.
    """

    repo_id: str
    version: int
    digest: str
    outcome: Outcome
    address: str


def push(
    store: Reader,
    stored: StoredSet,
    repo_id: str,
    notes: Notes,
    evaluations: Sequence[Mapping[str, JsonValue]],
    *,
    shown: Shown | None = None,
    private: bool = False,
    create_pr: bool = False,
) -> Pushed:
    """Push a set or a pool of experts to a dataset repository. Pushing the same version again changes nothing.

    Args:
        store: the store that has the set.
        stored: the set.
        repo_id: `user/repo` or its web address; created if it does not exist.
        notes: statements about the set for the card.
        evaluations: evaluation results of the set.
        shown: see `repository_files`.
        private: create the repository as private.
        create_pr: open a pull request instead of writing to main, and set no tag.

    Raises:
        BadNameError: the repository's name is not valid.
        ConflictError: the repository has that version with other content, or is that of the other kind.
        CorruptError: the set is damaged.
        HubError: the Hub refused or cannot be reached; or `private` was given and the repository is public.
        MissingPackageError: see `require_packages`.
    """
    require_packages()
    remote, tag = Remote(parse_repo_id(repo_id)), tag_of(stored.version)

    exists = _exists(remote, private=private, create_pr=create_pr)
    repo_id = remote.repo_id

    def done(outcome: Outcome, address: str) -> Pushed:
        return Pushed(repo_id, stored.version, stored.digest, outcome, address)

    tags, head = remote.refs() if exists else ({}, None)
    at_tag = f"{remote.address}/tree/{tag}"
    if tag in tags:
        there = _manifest(remote, tags[tag])
        if there is None or there.digest != stored.digest:
            raise ConflictError(
                f"{repo_id} has a version {stored.version} with other content than {stored.reference}.",
                "Versions are immutable: push another version, or to another repository.",
            )
        return done("unchanged", at_tag)
    newest = None if head is None else _manifest(remote, head)
    if head is not None and newest is not None and newest.digest == stored.digest:
        if create_pr:
            return done("unchanged", f"{remote.address}/tree/main")
        remote.tag(stored.version, head)
        return done("tagged", at_tag)
    if newest is not None and newest.kind != stored.kind:
        what = "set" if newest.kind == SET else "pool of experts"
        raise ConflictError(f"{repo_id} is the repository of a {what}.", "Push to another repository.")
    files = repository_files(store, stored, repo_id, notes, evaluations, shown)
    if not exists:
        remote.create(private=private)
        head = remote.refs()[1]
    unwanted = [PICTURE] if PICTURE not in files and head is not None and PICTURE in remote.sizes(head) else []
    commit = remote.commit(files, unwanted, f"{stored.reference} ({stored.digest[:12]})", head, create_pr=create_pr)
    if create_pr:
        return done("proposed", commit.pull_request or remote.address)
    remote.tag(stored.version, commit.oid)
    return done("pushed", at_tag)


def _exists(remote: Remote, *, private: bool, create_pr: bool) -> bool:
    """Return whether the repository exists, as far as the token has access.

    Raises:
        HubError: it is public and should be private; or it does not exist, and a pull request was asked for.
    """
    is_private = remote.look_up()
    if is_private is None and create_pr:
        raise MissingError(
            f"There is no {remote.repo_id} for a pull request, or the token has no access to it.",
            "To create it, push without `create_pr`, with a token that has write access.",
        )
    if private and is_private is False:
        raise HubError(
            f"{remote.repo_id} already exists and is public; nothing was pushed.",
            "Make it private in its settings on the Hub, or push to another repository.",
        )
    return is_private is not None


def _manifest(remote: Remote, commit: str) -> Manifest | None:
    """Return the manifest in a commit; None if it has no readable one."""
    if MANIFEST not in remote.sizes(commit):
        return None
    data, _ = remote.read(MANIFEST, commit)
    try:
        return parse_json(Manifest, data, f"{MANIFEST} of {remote.repo_id}")
    except CorruptError:
        return None
