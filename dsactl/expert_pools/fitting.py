"""The pools of experts that fit a set or dataset, by their manifests alone. Importing this loads no torch."""

import contextlib
from collections.abc import Iterator, Sequence

import registry
from dsactl.data.catalogue import entry_of
from dsactl.errors import DataError, UsageError
from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest
from dsactl.expert_pools.teacher import Teacher
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Relabelled
from dsactl.text.formatting import many


def choose_pool(
    store: registry.Store, source: registry.StoredSet, experts: str | None, teacher: Teacher
) -> tuple[registry.StoredSet | None, str]:
    """Return the pool that labels a set, and what to say of the choice.

    Args:
        store: has the pool.
        source: the set.
        experts: reference of the pool; None for the one with the default settings, or else, of those that fit, the one
            with the set's network, or the default one; then with most epochs in all; then the newest.
        teacher: the network of the pool.

    Returns:
        The pool, or None without one that fits; and which it is, as part of a sentence, if it was taken for want of one
        that is given or has the default settings, else "".

    Raises:
        registry.RegistryError: there is no such pool, it is a set, or the source is a pool.
        DataError: the given pool was trained on other images.
        UsageError: the pool does not have the teacher.
    """
    source.check_kind(registry.SET)
    which = ""
    if experts is not None:
        pool = named_pool(store, experts)
    else:
        fitting = list(_newest_first(store, source))
        if not fitting:
            return None, ""
        usual = next(filter(_has_default_settings, fitting), None)
        pool = usual or max(fitting, key=lambda pool: _worth(pool, source))
        which = "" if usual else _which(pool, len(fitting))
    teacher_for(source, pool, teacher)
    return pool, which


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


def remark_on(pool: registry.StoredSet, which: str) -> list[str]:
    """Return a remark on a pool that nobody chose, from the answer of `choose_pool`; none if `which` is empty."""
    return [f"The soft labels are those of {pool.reference}, {which}; `experts` names another."] if which else []


def _newest_first(store: registry.Store, source: registry.StoredSet) -> Iterator[registry.StoredSet]:
    """Yield the pools that fit a set, those that were stored last first."""
    info, shape = source.manifest.dataset, image_shape(source)
    for entry in reversed(store.entries()[0]):
        if entry.kind == registry.EXPERTS:
            with contextlib.suppress(registry.NotFoundError, registry.CorruptError):
                pool = store.read(entry.name, entry.version)
                if _misfit(pool, info, shape) is None:
                    yield pool


def _has_default_settings(pool: registry.StoredSet) -> bool:
    """Return whether a pool is one that is trained where none fits, in any precision."""
    try:
        own = PoolRecipe.from_dict(pool.manifest.recipe)
    except (DataError, UsageError):  # of another version of dsactl
        return False
    return own == PoolRequest().resolve(own.dataset, own.checksum, own.image_shape, own.precision)


def _worth(pool: registry.StoredSet, source: registry.StoredSet) -> tuple[bool, int]:
    """Return what a pool is chosen by: whether its network is the set's, or the default, and its epochs in all."""
    has = pool.manifest.pool
    assert has is not None
    return pool.manifest.network == (source.manifest.network or NetworkSpec().arch), has.networks * has.epochs[-1]


def _which(pool: registry.StoredSet, fitting: int) -> str:
    """Return what distinguishes a pool: "chosen from 4 pools that fit (1 network, 1 epoch, convnet-width8)"."""
    has = pool.manifest.pool
    assert has is not None
    first = "the only pool that fits" if fitting == 1 else f"chosen from {fitting} pools that fit"
    about = [many(has.networks, "network"), many(has.epochs[-1], "epoch"), pool.manifest.network]
    return f"{first} ({', '.join(filter(None, about))})"


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
