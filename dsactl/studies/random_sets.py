"""Sets of random real images that a set is compared with: as many as it stores, or of as many bytes.

Bytes are those of `registry.cost`: a real image has one for each number; the set's images have four, unless 8 bits lose
nothing of them; soft labels count.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import registry
from dsactl.data.dataset import Dataset
from dsactl.engine.session import Session
from dsactl.errors import DataError
from dsactl.expert_pools.fitting import choose_pool, how_to_make
from dsactl.expert_pools.teacher import Teacher
from dsactl.recipes.recipe import Request
from dsactl.runs.job import STUDIES, Job, prepare
from dsactl.runs.run import execute
from dsactl.studies.comparison import RANDOM, RANDOM_BYTES, RANDOM_BYTES_SOFT, RANDOM_SOFT
from dsactl.synthetic.relabelling import relabel
from dsactl.synthetic.synthetic_set import SyntheticSet
from registry.cost import FLOAT32, Cost, fit_in_8_bits


@dataclass(frozen=True)
class Compared:
    """The set that is compared.

    Attributes:
        where, stored: the set, and the store that has it.
        synthetic: the same, loaded.
        dataset: the one that it was made from.
        source: the arguments of `load_dataset` that found the dataset.
    """

    where: registry.Reader
    stored: registry.StoredSet
    synthetic: SyntheticSet
    dataset: Dataset
    source: dict[str, Any]

    @property
    def fewest(self) -> tuple[int, str]:
        """The number of training images of the smallest class, and its name."""
        return min(zip(self.dataset.train.counts, self.dataset.class_names, strict=True))


@dataclass(frozen=True)
class RandomSets:
    """Sets of random real images in the store, and why some are left out.

    Attributes:
        groups: the sets of each group, by its name.
        remarks: one or two sentences each.
    """

    groups: dict[str, list[registry.StoredSet]]
    remarks: tuple[str, ...]


def stored_bytes(where: registry.Reader, stored: registry.StoredSet) -> int:
    """Return the bytes of a set's images, in 8 bits where that loses nothing, and of its soft labels.

    Raises:
        registry.RegistryError: it is damaged.
    """
    info, cost = stored.manifest.dataset, Cost.of_manifest(stored.manifest)
    fitting = fit_in_8_bits(where.tensors(stored)["images"], info.mean, info.std)
    return (cost.numbers if fitting else cost.image_bytes) + cost.soft_label_bytes


def make_random_sets(compared: Compared, draws: int, session: Session) -> RandomSets:
    """Draw the sets, or look them up; with soft labels as well if the set has them. Nothing is trained.

    Args:
        compared: the set.
        draws: number of sets for each group, with derived seeds.
        session: has the store, where the sets go, under `studies/`.

    Raises:
        DataError: a class has fewer images than the set stores.
        registry.RegistryError: the set or its teacher is damaged; the store cannot be written to.
    """
    remarks = _uneven(compared)
    jobs = {RANDOM: _as_many(compared, session)}
    info, classes = compared.stored.manifest, compared.dataset.classes
    image = compared.dataset.train.images_NCHW[0].numel()
    per_class = stored_bytes(compared.where, compared.stored) // classes
    of_bytes = {RANDOM_BYTES: image}
    if info.has_soft_labels:
        of_bytes[RANDOM_BYTES_SOFT] = image + FLOAT32 * classes
    for name, each in of_bytes.items():
        job, said = _of_bytes(compared, per_class // each, session)
        remarks += [text for text in said if text not in remarks]
        if job is not None and job.recipe != jobs[RANDOM].recipe:
            jobs[name] = job
    groups = {
        name: [execute(draw, session, wait=True).stored for draw in _draws(job, draws, compared)]
        for name, job in jobs.items()
    }
    if info.has_soft_labels:
        hard = {RANDOM_SOFT: groups[RANDOM], RANDOM_BYTES_SOFT: groups.pop(RANDOM_BYTES_SOFT, [])}
        soft, said = _with_soft_labels(compared, {name: sets for name, sets in hard.items() if sets}, session)
        groups, remarks = {**groups, **soft}, [*remarks, *said]
    return RandomSets(groups, tuple(remarks))


def _uneven(compared: Compared) -> list[str]:
    """Return a remark if a set from elsewhere does not have equally many images of all classes."""
    recipe = compared.synthetic.recipe
    if recipe.short_classes == "all" or len(compared.synthetic) == recipe.decoded * compared.dataset.classes:
        return []
    return [
        f"{compared.stored.reference} does not have {recipe.ipc} images of every class; the sets of random images that "
        "are called as many do."
    ]


def _as_many(compared: Compared, session: Session) -> Job:
    """Return the job of a set of as many random images as the set stores, in the same formation.

    Raises:
        DataError: a class has fewer.
    """
    recipe, (fewest, name) = compared.synthetic.recipe, compared.fewest
    short = fewest < recipe.decoded
    if short and recipe.short_classes == "refuse":
        raise DataError(
            f"Class {name!r} of {compared.dataset.name} has {fewest} training images, fewer than the {recipe.decoded} "
            f"of {compared.stored.reference}, so that no random ones are as many.",
            f'Evaluate the set alone: `evaluate("{compared.stored.reference}")`',
        )
    how = {"short_classes": recipe.short_classes} if short else {}
    return _job(compared, recipe.ipc, session, formation=recipe.formation, **how)


def _of_bytes(compared: Compared, wanted: int, session: Session) -> tuple[Job | None, list[str]]:
    """Return the job of a set of `wanted` random images per class, or of as many as the smallest class has; None for 0.

    Returns:
        The job, and a remark if there are fewer than wanted.
    """
    fewest, name = compared.fewest
    if wanted < 1:
        return None, ["A real image of each class has more bytes than the set; that group is left out."]
    said = f"{wanted} random images of each class would have as many bytes as the set; class {name!r} has {fewest}."
    return _job(compared, min(wanted, fewest), session), [said] if fewest < wanted else []


def _job(compared: Compared, ipc: int, session: Session, **how: Any) -> Job:
    folder = {name: value for name, value in compared.source.items() if name != "name" and value is not None}
    request = Request(compared.source["name"], ipc, "random", **folder, **how)
    return prepare(request, session.device, loaded=compared.dataset, store=session.store).within(STUDIES)


def _draws(job: Job, count: int, compared: Compared) -> list[Job]:
    """Return the jobs of several draws, other than that of the set itself."""
    own = replace(compared.synthetic.recipe, labels=None)
    draws = (job.with_seed(index) for index in itertools.count())
    return list(itertools.islice((draw for draw in draws if draw.recipe != own), count))


def _with_soft_labels(
    compared: Compared, groups: dict[str, list[registry.StoredSet]], session: Session
) -> tuple[dict[str, list[registry.StoredSet]], list[str]]:
    """Store sets with soft labels: of the teacher of the compared set, or else as `choose_pool` chooses.

    Returns:
        The sets of each group; none without the teacher, and a remark on it.
    """
    labels, teacher, address = compared.synthetic.recipe.labels, Teacher(), None
    if labels is not None:
        teacher = Teacher(labels.teacher, labels.epoch, labels.temperature)
        address = f"@sha256:{labels.pool}"
    left_out = "so random images with soft labels are left out"
    try:
        pool, which = choose_pool(session.store, groups[RANDOM_SOFT][0], address, teacher)
    except registry.NotFoundError:
        known = compared.stored.manifest.provenance.get("teacher")
        named = " ".join(str(each) for each in (known, address) if each)
        return {}, [
            f"The teacher of {compared.stored.reference} ({named}) is not in the store, {left_out}. Import or pull it."
        ]
    if pool is None:
        hint = how_to_make(compared.stored.manifest.dataset.name)
        return {}, [f"The store has no pool of experts that fits {compared.stored.reference}, {left_out}. {hint}"]
    soft = {
        name: [relabel(session.store, each, pool, teacher, session.part(0, 0, 1)).stored for each in sets]
        for name, sets in groups.items()
    }
    if labels is not None:
        return soft, []
    return soft, [f"The soft labels of random images are those of {pool.reference}{which and f', {which}'}."]
