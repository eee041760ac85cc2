"""Output about a stored set or pool of experts, shared by several commands."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape

from dsactl.text.formatting import many

if TYPE_CHECKING:
    import registry
    from registry.export import Shown


def to_json(stored: "registry.StoredSet") -> dict[str, str | None]:
    """Return the reference, digest and file paths of a set or pool as JSON values."""
    return {
        "reference": stored.reference,
        "digest": stored.digest,
        "file": str(stored.file),
        "picture": str(stored.picture) if stored.picture else None,
    }


def contents(stored: "registry.StoredSet") -> str:
    """Return what a set or pool contains: "10×1×28×28", or "5 networks, after epochs 0 and 60"."""
    pool = stored.manifest.pool
    if pool is None:
        return "×".join(map(str, stored.manifest.tensors["images"].shape))
    networks = many(pool.networks, "network")
    *others, last = map(str, pool.epochs)
    return f"{networks}, after epochs {', '.join(others)} and {last}" if others else f"{networks}, after epoch {last}"


def to_train_on(stored: "registry.StoredSet") -> str:
    """Return the number of images that a set with formation is decoded into, after a comma; "" without formation."""
    from registry.cost import Cost

    manifest = stored.manifest
    return "" if manifest.formation == 1 else f", {Cost.of_manifest(manifest).decoded_images:,} to train on"


def next_command(stored: "registry.StoredSet", more: str = "") -> str:
    """Return what to do with a set or pool that is new in the store.

    Args:
        stored: the set or pool.
        more: options for evaluating the set.
    """
    if stored.manifest.pool is not None:
        return f"dsactl show {stored.reference}"
    return f"dsactl evaluate {stored.reference}{more}"


def renamed(old: str, new: str) -> str:
    """Return what to say about a repository that the Hub has under another name."""
    return f"{old} is now {new} on the Hub; give the new name from now on."


def picture_lines(stored: "registry.StoredSet") -> list[str]:
    """Return a line with the path of a set's picture; empty if it has none."""
    return [f"Picture {escape(str(stored.picture))}"] if stored.picture else []


def decoder(stored: "registry.StoredSet") -> "Shown | None":
    """Return the function that decodes a set's tensors for pictures; None for a set that is stored as it is seen."""
    if "formation" not in stored.manifest.recipe:
        return None
    from dsactl.synthetic.exporting import pictures_of  # loads torch

    return pictures_of(stored)


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
