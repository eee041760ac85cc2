"""Output about a stored set, shared by several commands."""

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    import registry


def to_json(stored: "registry.StoredSet") -> dict[str, str | None]:
    """Return the reference, digest and file paths of a set as JSON values."""
    return {
        "reference": stored.reference,
        "digest": stored.digest,
        "file": str(stored.file),
        "picture": str(stored.picture) if stored.picture else None,
    }


def picture_lines(stored: "registry.StoredSet") -> list[str]:
    """Return a line with the path of a set's picture; empty if it has none."""
    return [f"Picture {escape(str(stored.picture))}"] if stored.picture else []
