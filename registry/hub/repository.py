"""Names, version tags and files of a set's repository."""

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
"""The files that `pull` reads, and the size limit of each."""

_REPO_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*/[A-Za-z0-9_][A-Za-z0-9._-]*")
_MAX_LENGTH = 96
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_TAG = re.compile(r"v([1-9][0-9]{0,5})")
"""Six digits at most, fewer than a store's version numbers have, so that a foreign tag cannot exhaust them."""


def tag_of(version: int) -> str:
    """Return the repository's tag of a version: `v3` for 3.

    Raises:
        HubError: the version has too many digits for a tag.
    """
    tag = f"v{version}"
    if version_of(tag) != version:
        raise HubError(
            f"Version {version} has too many digits for a tag.", "Store the set under another name, and push that."
        )
    return tag


def version_of(revision: str) -> int | None:
    """Return the version of a version tag; None for another tag, a branch or a commit."""
    found = _TAG.fullmatch(revision)
    return int(found[1]) if found else None


def parse_repo_id(text: str) -> str:
    """Check `user/repo`.

    Raises:
        BadNameError: it is not a valid repository name.
    """
    fits = _REPO_ID.fullmatch(text) and len(text) <= _MAX_LENGTH and not re.search(r"\.\.|--|[.-]/|[.-]$|\.git$", text)
    if not fits:
        raise BadNameError(f"{text!r} is not a repository name.", "Give it as user/repo, as in its address on the Hub.")
    return text


def parse_address(text: str) -> tuple[str, str | None]:
    """Parse `user/repo[:version|:revision]`.

    Returns:
        The repository, and the revision: a version tag, another tag, a branch or a commit; None for the newest
        version.

    Raises:
        BadNameError: it is neither.
    """
    if not isinstance(text, str):
        raise BadNameError(f"{text!r} is not a repository name.", "Give a text: user/repo or user/repo:version.")
    repo_id, colon, word = text.partition(":")
    parse_repo_id(repo_id)
    return repo_id, parse_revision(word) if colon else None


def parse_revision(text: str) -> str:
    """Parse a version number, a tag, a branch or a commit.

    Raises:
        BadNameError: it is none of these.
    """
    if text.isascii() and text.isdigit() and version_of(f"v{text}"):
        return f"v{text}"
    if not _REVISION.fullmatch(text) or ".." in text or text.isdigit():
        raise BadNameError(f"{text!r} is not a version or revision.", "Give a number, a tag, a branch or a commit.")
    return text
