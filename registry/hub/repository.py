"""What a repository of a set is called, how its versions are tagged, and which files it has."""

import re

from registry.errors import BadNameError, HubError

CARD = "README.md"
PARQUET = "data/train.parquet"
TENSORS = "set.safetensors"
MANIFEST = "manifest.json"
EVALUATIONS = "evaluations.json"
PICTURE = "picture.png"

MEGABYTE = 1_000_000
LIMITS = {TENSORS: 2_000 * MEGABYTE, MANIFEST: 10 * MEGABYTE, EVALUATIONS: 10 * MEGABYTE, PICTURE: 50 * MEGABYTE}
"""What `pull` reads, and the most bytes that it takes of each."""

_REPO_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_LONGEST = 96
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_TAG = re.compile(r"v([1-9][0-9]{0,5})")
"""A store counts on from the versions that it has, and further than this: no tag of a stranger uses up its numbers."""


def tag_of(version: int) -> str:
    """The repository's tag of a version: `v3` for 3.

    Raises:
        HubError: it has more digits than a tag may have.
    """
    tag = f"v{version}"
    if version_of(tag) != version:
        raise HubError(f"No tag can have the number {version}.", "Store the set under another name, and push that.")
    return tag


def version_of(revision: str) -> int | None:
    """The version that a revision is the tag of; None where it is another tag, a branch or a commit."""
    found = _TAG.fullmatch(revision)
    return int(found[1]) if found else None


def parse_repo_id(text: str) -> str:
    """Check `user/repo`.

    Raises:
        BadNameError: it is not the name of a repository.
    """
    fits = _REPO_ID.fullmatch(text) and len(text) <= _LONGEST and not re.search(r"\.\.|--|[.-]/|[.-]$|\.git$", text)
    if not fits:
        raise BadNameError(f"{text!r} is not a repository.", "Give it as user/repo, as in its address on the Hub.")
    return text


def parse_address(text: str) -> tuple[str, str | None]:
    """Read `user/repo[:version|:revision]`.

    Returns:
        The repository and the revision: the tag of a version, or another tag, a branch or a commit; None for the
        newest version.

    Raises:
        BadNameError: it is neither.
    """
    repo_id, colon, word = text.partition(":")
    parse_repo_id(repo_id)
    return repo_id, parse_revision(word) if colon else None


def parse_revision(text: str) -> str:
    """Read a version number, a tag, a branch or a commit.

    Raises:
        BadNameError: it is none of these.
    """
    if text.isascii() and text.isdigit() and version_of(f"v{text}"):
        return f"v{text}"
    if not _REVISION.fullmatch(text) or ".." in text or text.isdigit():
        raise BadNameError(f"{text!r} is not a version or revision.", "Give a number, a tag, a branch or a commit.")
    return text
