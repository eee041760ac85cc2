"""What several commands say of a set that is in the store."""

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    import registry


def to_json(stored: "registry.StoredSet") -> dict[str, str | None]:
    """What a set is called, and where its files are."""
    return {
        "reference": stored.reference,
        "digest": stored.digest,
        "file": str(stored.file),
        "picture": str(stored.picture) if stored.picture else None,
    }


def picture_lines(stored: "registry.StoredSet") -> list[str]:
    """Where its picture is, for people; nothing where it has none."""
    return [f"Picture {escape(str(stored.picture))}"] if stored.picture else []
