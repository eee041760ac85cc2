"""Output about a stored set, shared by several commands."""

from collections.abc import Iterator
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


def remarks_on_name(stored: "registry.StoredSet", store: "registry.Store") -> Iterator[str]:
    """Yield a remark if the version before a set was made from other images."""
    from registry import RegistryError

    earlier = [version for version in store.versions(stored.name) if version < stored.version]
    if not earlier:
        return
    try:
        other = store.read(stored.name, earlier[-1])
    except RegistryError:  # removed since, or damaged, which `verify` reports
        return
    if other.manifest.dataset.checksum != stored.manifest.dataset.checksum:
        yield (
            f"{stored.reference} is made from {_images(stored)}, and {other.reference} from other images: "
            f"{_images(other)}. With `name` they get different names."
        )


def _images(stored: "registry.StoredSet") -> str:
    info = stored.manifest.dataset
    return f"{sum(info.counts):,} images of {len(info.class_names)} classes ({info.name})"
