"""Names of sets and references to sets: `[namespace/]name[:version]`, or `@sha256:…` for a content digest."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from registry.errors import BadNameError

LATEST = "latest"
LAST_VERSION = 999_999_999

MAX_LENGTH = 80
"""Limit of a namespace, a name within one, and a tag, in characters."""

_PART = re.compile(rf"(?!.*\.\.)[a-z0-9][a-z0-9._-]{{0,{MAX_LENGTH - 1}}}")
_DIGEST = re.compile(r"[0-9a-f]{8,64}")


class SetName(NamedTuple):
    """Name of a set.

    Attributes:
        namespace: empty for none.
        name: the name within the namespace.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True)
class Reference:
    """Reference to a set, by name with a version or tag, or by digest.

    Attributes:
        name: the name; None for a digest alone.
        version: the version number, or None.
        tag: the tag, or None; "latest" is the newest version. At most one of version and tag is set.
        digest: the first 8 or more of 64 hexadecimal digits, or None.
    """

    name: SetName | None
    version: int | None = None
    tag: str | None = None
    digest: str | None = None


def parse_name(text: str) -> SetName:
    """Parse `[namespace/]name`.

    Raises:
        BadNameError: a part is not `[a-z0-9][a-z0-9._-]*` of at most 80 characters, or holds `..`.
    """
    parts = text.split("/") if isinstance(text, str) else []
    if not 1 <= len(parts) <= 2 or not all(is_part(part) for part in parts):
        raise BadNameError(
            f"{text!r} is not a name.",
            "A name is [namespace/]name of a-z, 0-9, '.', '_' and '-', each part starting with a letter or digit "
            f"and at most {MAX_LENGTH} long.",
        )
    return SetName(parts[0] if len(parts) == 2 else "", parts[-1])


def parse_tag(text: str) -> str:
    """Parse a tag, which must not look like a version number.

    Raises:
        BadNameError: it has characters that a name cannot have, or is a number.
    """
    if not is_part(text) or text.isdigit():
        raise BadNameError(
            f"{text!r} is not a tag.",
            f"A tag is a word of a-z, 0-9, '.', '_' and '-', not a number, and at most {MAX_LENGTH} long.",
        )
    return text


def parse_own_tag(text: str) -> str:
    """Parse a tag that a user may set: any but "latest", which always is the newest version.

    Raises:
        BadNameError: it is not a tag, or is "latest".
    """
    if parse_tag(text) == LATEST:
        raise BadNameError("'latest' always is the newest version.", "Choose another tag.")
    return text


def parse_reference(text: str) -> Reference:
    """Parse `[namespace/]name[:version|:tag]` or `@sha256:DIGEST`.

    Raises:
        BadNameError: it is neither.
    """
    if not isinstance(text, str):
        raise BadNameError(
            f"{text!r:.100} is not a reference.", "Give a text: name, name:version, name:tag or @sha256:…"
        )
    if text.startswith("@"):
        algorithm, _, digest = text[1:].partition(":")
        if algorithm != "sha256" or not _DIGEST.fullmatch(digest):
            raise BadNameError(
                f"{text!r} is not a digest.", "A digest is @sha256: and 64 hexadecimal digits, or the first 8 or more."
            )
        return Reference(None, digest=digest)
    name, colon, rest = text.partition(":")
    if not colon:
        return Reference(parse_name(name), tag=LATEST)
    if rest.isascii() and rest.isdigit() and len(rest) <= len(str(LAST_VERSION)):
        return Reference(parse_name(name), version=int(rest))
    return Reference(parse_name(name), tag=parse_tag(rest))


def is_part(text: str) -> bool:
    """Return whether a text can be a namespace, a name within one, or a tag."""
    return _PART.fullmatch(text) is not None
