"""Push a set: one commit to main, then a tag for its version.

The tag is what makes a version be there. A push that was cut off between the two left a commit that the next push
recognises by its content and only has to tag. Main shows what was pushed last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from registry.card import Notes
from registry.errors import ConflictError, CorruptError, HubError
from registry.hub.errors import MissingError
from registry.hub.folder import repository_files, require_packages
from registry.hub.remote import Remote
from registry.hub.repository import MANIFEST, PICTURE, parse_repo_id, tag_of
from registry.manifest import Manifest, parse_json
from registry.reader import Reader
from registry.records import StoredSet

Outcome = Literal["pushed", "tagged", "proposed", "unchanged"]


@dataclass(frozen=True)
class Pushed:
    """What a push did.

    Attributes:
        repo_id, version: `user/repo` and the number.
        digest: of the content.
        outcome: "pushed" a commit and its tag; "tagged" what main held already; "proposed" a pull request, without a
            tag; "unchanged" where the version, or what was to be proposed, was there.
        address: where to see it: the tag, main, or the pull request.
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
    private: bool = False,
    create_pr: bool = False,
) -> Pushed:
    """Put a set into a data set repository; the same version again changes nothing.

    Args:
        store: has the set.
        stored: the set.
        repo_id: `user/repo`; made if it is not there.
        notes: what the card says about the set.
        evaluations: what was measured on it.
        private: make it visible to its owners only.
        create_pr: open a pull request instead of writing to main, and set no tag.

    Raises:
        BadNameError: no such name can be.
        ConflictError: the version is there with other content.
        CorruptError: the set is damaged.
        HubError: the Hub refused or cannot be reached; or a public repository was to be private.
        MissingPackageError: see `require_packages`.
    """
    require_packages()
    remote, tag = Remote(parse_repo_id(repo_id)), tag_of(stored.version)

    def done(outcome: Outcome, address: str) -> Pushed:
        return Pushed(repo_id, stored.version, stored.digest, outcome, address)

    is_there = _is_there(remote, private=private, create_pr=create_pr)
    tags, head = remote.refs() if is_there else ({}, None)
    at_tag = f"{remote.address}/tree/{tag}"
    if tag in tags:
        if _digest(remote, tags[tag]) != stored.digest:
            raise ConflictError(
                f"{repo_id} has a version {stored.version} with other content than {stored.reference}.",
                "Versions never change: push another version, or to another repository.",
            )
        return done("unchanged", at_tag)
    if head is not None and _digest(remote, head) == stored.digest:
        if create_pr:
            return done("unchanged", f"{remote.address}/tree/main")
        remote.tag(stored.version, head)
        return done("tagged", at_tag)
    files = repository_files(store, stored, repo_id, notes, evaluations)
    if not is_there:
        remote.create(private=private)
        head = remote.refs()[1]
    unwanted = [PICTURE] if PICTURE not in files and head is not None and PICTURE in remote.sizes(head) else []
    commit = remote.commit(files, unwanted, f"{stored.reference} ({stored.digest[:12]})", head, create_pr=create_pr)
    if create_pr:
        return done("proposed", commit.pull_request or remote.address)
    remote.tag(stored.version, commit.oid)
    return done("pushed", at_tag)


def _is_there(remote: Remote, *, private: bool, create_pr: bool) -> bool:
    """Whether the repository is there, as far as the token may see.

    Raises:
        HubError: it is public and should be private; or it is not there and something should be proposed to it.
    """
    is_private = remote.is_private()
    if is_private is None and create_pr:
        raise MissingError(
            f"There is no {remote.repo_id} to propose something to, or the token may not see it.",
            "Push without `create_pr` to make it.",
        )
    if private and is_private is False:
        raise HubError(
            f"{remote.repo_id} is there and public; nothing was pushed.",
            "Make it private in its settings on the Hub, or push to another repository.",
        )
    return is_private is not None


def _digest(remote: Remote, commit: str) -> str | None:
    """Digest of the set that a commit holds; None where it holds none."""
    if MANIFEST not in remote.sizes(commit):
        return None
    data, _ = remote.read(MANIFEST, commit)
    try:
        return parse_json(Manifest, data, f"{MANIFEST} of {remote.repo_id}").digest
    except CorruptError:
        return None
