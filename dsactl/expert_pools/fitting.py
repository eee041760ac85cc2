"""The pools of experts that fit a set or dataset, by their manifests alone. Importing this loads no torch."""

import contextlib
from collections.abc import Sequence

import registry
from dsactl.data.catalogue import entry_of
from dsactl.errors import DataError
from dsactl.expert_pools.teacher import Teacher
from dsactl.recipes.recipe import Relabelled


def choose_pool(
    store: registry.Store, source: registry.StoredSet, experts: str | None, teacher: Teacher
) -> registry.StoredSet | None:
    """Return the pool that labels a set: a given one, or the newest one that fits; None without one that fits.

    Args:
        store: has the pool.
        source: the set.
        experts: reference of the pool; None for the newest.
        teacher: the network of the pool.

    Raises:
        registry.RegistryError: there is no such pool, it is a set, or the source is a pool.
        DataError: the given pool was trained on other images.
        UsageError: the pool does not have the teacher.
    """
    source.check_kind(registry.SET)
    if experts is not None:
        pool = named_pool(store, experts)
    elif (newest := newest_fitting(store, source.manifest.dataset, image_shape(source))) is not None:
        pool = newest
    else:
        return None
    teacher_for(source, pool, teacher)
    return pool


def named_pool(store: registry.Store, reference: str) -> registry.StoredSet:
    """Return the pool, or set, of a reference.

    Raises:
        registry.RegistryError: there is none, with a hint on pools; or it is damaged.
    """
    wanted = registry.parse_reference(reference)
    try:
        return store.find(wanted)
    except registry.NotFoundError:
        if wanted.name is not None and store.versions(wanted.name):
            raise  # a version or a tag is missing
        see = "See: `store.pools()`"
        if wanted.name is None:
            raise registry.NotFoundError(f"No pool of experts has the digest {wanted.digest}.", see) from None
        known = dict.fromkeys(entry.name for entry in store.entries()[0] if entry.kind == registry.EXPERTS)
        hint = registry.nearest(wanted.name, known, see)
        raise registry.NotFoundError(f"There is no pool of experts {str(wanted.name)!r}.", hint) from None


def newest_fitting(
    store: registry.Store, info: registry.DatasetInfo, image_shape: Sequence[int]
) -> registry.StoredSet | None:
    """Return the pool that was stored last of those trained on the training images of a dataset; None without one.

    Args:
        store: the store.
        info: the dataset, as a manifest describes it.
        image_shape: C, H, W of its images.
    """
    for entry in reversed(store.entries()[0]):
        if entry.kind == registry.EXPERTS:
            with contextlib.suppress(registry.NotFoundError, registry.CorruptError):
                pool = store.read(entry.name, entry.version)
                if _misfit(pool, info, image_shape) is None:
                    return pool
    return None


def teacher_for(source: registry.StoredSet, pool: registry.StoredSet, teacher: Teacher) -> Relabelled:
    """Return a set's teacher in a pool, as recipes have it.

    Raises:
        registry.KindError: the pool is a set.
        DataError: it was trained on other images, or with other labels or normalisation.
        UsageError: it has no such network or epoch.
    """
    pool.check_kind(registry.EXPERTS)
    info = source.manifest.dataset
    if (fault := _misfit(pool, info, image_shape(source))) is not None:
        raise DataError(f"{pool.reference} does not fit {source.reference}: {fault}.", how_to_make(info.name))
    assert pool.manifest.pool is not None
    return teacher.of(pool.manifest.pool, pool.reference, pool.digest)


def image_shape(source: registry.StoredSet) -> list[int]:
    """Return C, H, W of a set's images."""
    return source.manifest.tensors["images"].shape[1:]


def how_to_make(dataset: str) -> str:
    """Return a hint on making a pool for a dataset, by its name in manifests."""
    argument = repr(dataset) if entry_of(dataset) else "FOLDER"
    return f"Make a pool of its images: `experts({argument})`"


def _misfit(pool: registry.StoredSet, info: registry.DatasetInfo, image_shape: Sequence[int]) -> str | None:
    """Return in what a pool differs from a dataset; None if it fits."""
    its, own = pool.manifest.dataset, pool.manifest.recipe.get("image_shape")
    if own != list(image_shape):
        size, wanted = ("×".join(map(str, shape)) if isinstance(shape, list) else "?" for shape in (own, image_shape))
        return f"it is for images of {size}, not {wanted}"
    if len(its.class_names) != len(info.class_names):
        return f"it has {len(its.class_names)} classes, not {len(info.class_names)}"
    if its.checksum != info.checksum:
        return f"it was trained on other images ({its.name}) than those of {info.name}"
    if its.class_names != info.class_names:
        return "its classes have other names, or another order"
    if (its.mean, its.std) != (info.mean, info.std):
        return "its images are normalised otherwise"
    return None
