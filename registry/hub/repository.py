"""Names, web addresses, version tags and files of a set's repository."""

import re
from urllib.parse import unquote

from registry.errors import BadNameError, HubError
from registry.names import LATEST

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
_MAX_REVISION = 200
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_IS_ADDRESS = re.compile(r"[A-Za-z]+://|([\w.-]+\.\w+/)?(datasets|spaces|models)/[^/:]+/")
"""What is an address rather than `user/repo`: it has a scheme, or the kind of repository comes first."""
_ADDRESS = re.compile(
    r"(https?://[^?#]*?/|hf://|[\w.-]+/)?datasets/(?P<repo>[^/@:?#]+/[^/@:?#]+)"
    r"((/(tree|blob|resolve|raw|commits?)/|@)(?P<revision>refs/[^/?#]+/[^/?#]+|[^/?#]+)(/[^?#]*)?|:(?P<word>[^?#]+))?"
    r"/?([?#].*)?",
    re.IGNORECASE,
)
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
    """Parse `user/repo`, or the web address of a repository.

    Raises:
        BadNameError: it is not a valid repository name, or is the address of something else.
    """
    if not _IS_ADDRESS.match(text):
        return _checked(text)
    repo_id, revision = parse_address(text)
    if revision is not None:
        raise BadNameError(f"{text!r} is the address of a revision.", f"Give the repository alone: {repo_id}")
    return repo_id


def _checked(repo_id: str) -> str:
    """Check `user/repo`.

    Raises:
        BadNameError: it is not a valid repository name.
    """
    if not _REPO_ID.fullmatch(repo_id) or re.search(r"\.\.|--|[.-]/|[.-]$|\.git$", repo_id):
        raise BadNameError(
            f"{repo_id!r} is not a repository name.", "Give it as user/repo, as in its address on the Hub."
        )
    if len(repo_id) > _MAX_LENGTH:
        raise BadNameError(f"{repo_id!r} is not a repository name: it has more than {_MAX_LENGTH} characters.")
    return repo_id


def parse_address(text: str) -> tuple[str, str | None]:
    """Parse `user/repo[:version|:revision]`, or the web address of a dataset repository or of a revision of one.

    A web address may be of any host, and lack scheme and host: `datasets/user/repo`. `:latest` is the newest version.

    Returns:
        The repository, and the revision: a version tag, another tag, a branch or a commit; None for the newest
        version.

    Raises:
        BadNameError: it is neither.
    """
    if not isinstance(text, str):
        raise BadNameError(f"{text!r} is not a repository name.", "Give a text: user/repo or user/repo:version.")
    if not _IS_ADDRESS.match(text):
        repo_id, colon, word = text.partition(":")
        return _checked(repo_id), parse_revision(word) if colon and word != LATEST else None
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise BadNameError(
            f"{text!r} is not the address of a dataset repository.",
            "Such an address ends with /datasets/user/repo, or /tree/REVISION after that.",
        )
    repo_id, revision = _checked(found["repo"]), found["word"] or unquote(found["revision"] or "")
    return repo_id, parse_revision(revision) if revision and found["word"] != LATEST else None


def parse_revision(text: str) -> str:
    """Parse a version number, a tag, a branch or a commit.

    Raises:
        BadNameError: it is none of these.
    """
    if text.isascii() and text.isdigit() and version_of(f"v{text}"):
        return f"v{text}"
    if not _REVISION.fullmatch(text) or ".." in text or text.isdigit():
        raise BadNameError(f"{text!r} is not a version or revision.", "Give a number, a tag, a branch or a commit.")
    if len(text) > _MAX_REVISION:
        raise BadNameError(f"{text!r} is not a revision: it has more than {_MAX_REVISION} characters.")
    return text
