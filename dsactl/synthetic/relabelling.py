"""The same images with one fixed soft label each from a teacher, stored as a set of its own.

Qin, Deng and Alvarez-Melis, "A Label is Worth a Thousand Images in Dataset Distillation", NeurIPS 2024
(arXiv 2406.10485): the teacher is a network that was trained on the real training images, best for not too long. The
label of an image x is softmax(f(x) / T), with f in evaluation mode and no augmentation, in float32.

With formation F, each stored image is decoded into F² images and has one label: the mean of theirs (ours).

Shapes: N images of a set, F²·N decoded images, C, H, W, K classes.
"""

import contextlib
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.func import functional_call

import registry
from dsactl.data.paths import folder_options
from dsactl.engine.device import describe, prepare_device
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.engine.session import Session
from dsactl.errors import INTERRUPTS, RunError, UsageError, continue_hint, explain_interrupt
from dsactl.expert_pools.fitting import teacher_for
from dsactl.expert_pools.pool import ExpertPool, pool_from_store
from dsactl.expert_pools.teacher import MEAN, Teacher
from dsactl.networks.build import structure
from dsactl.recipes.recipe import Recipe, Relabelled
from dsactl.synthetic.bundled import bare
from dsactl.synthetic.decoding import decoded
from dsactl.synthetic.storage import program_and_time
from registry.tensors import Array
from registry.tensors import describe as describe_tensors

ENDING = "-soft"
_BATCH = 500


@dataclass(frozen=True)
class Outcome:
    """A relabelled set in the store.

    Attributes:
        stored: the set.
        repeated: whether it had been made before and was only looked up.
    """

    stored: registry.StoredSet
    repeated: bool


def relabel(
    where: registry.Reader,
    source: registry.StoredSet,
    pool: registry.StoredSet,
    teacher: Teacher,
    session: Session,
    name: registry.SetName | None = None,
) -> Outcome:
    """Store a set with soft labels from a teacher, or look it up. Nothing but the set and the pool is read.

    Args:
        where: the store that has the source.
        source: the set; soft labels that it has are replaced.
        pool: the experts, in the session's store.
        teacher: which of them.
        session: has the store for the new set, the device, and the meter, which counts decoded images.
        name: of the new set; None for that of the source with "-soft", or that of the source if it ends so already.

    Raises:
        registry.KindError: the source is a pool of experts, or the pool is a set.
        DataError: the pool was trained on other images.
        UsageError: the pool has no such network or epoch, or the name is the source's.
        RunError: the teacher gives probabilities that are not finite.
        registry.RegistryError: the set or the pool is damaged, or the store cannot be written to.
        KeyboardInterrupt: with a note that the pool is stored.
    """
    source.check_kind(registry.SET)
    store, labels = session.store, teacher_for(source, pool, teacher)
    name = name_for(store, source, name)
    store.check_writable()
    recipe = replace(Recipe.from_dict(source.manifest.recipe), labels=labels)
    tensors = {key: array for key, array in where.tensors(source).items() if key != "soft_labels"}
    picture = where.picture_bytes(source)
    if (found := _find(store, source, recipe)) is not None:
        stored, known = found
        return Outcome(stored if stored.name == name else store.put(name, known, stored.manifest, picture), True)
    images_NCHW = decoded({"images": torch.from_numpy(tensors["images"])}, recipe)["images"]
    try:
        soft_NK = soft_labels(pool_from_store(store, pool), labels, images_NCHW, session.device, session.progress)
    except INTERRUPTS as interrupt:
        explain_interrupt(interrupt, f"Interrupted; the experts {pool.reference} are stored.", continue_hint())
        raise
    tensors["soft_labels"] = soft_NK.view(len(tensors["labels"]), -1, soft_NK.shape[1]).mean(1).numpy()
    manifest = _manifest(source, pool, recipe, tensors, session.device)
    return Outcome(store.put(name, tensors, manifest, picture), False)


def name_for(store: registry.Store, source: registry.StoredSet, name: registry.SetName | None) -> registry.SetName:
    """Return the name of a relabelled set; arguments as of `relabel`.

    Raises:
        registry.ConflictError: it is the name of a pool of experts.
        UsageError: it is the source's own, which does not end in "-soft"; no name is given, and the usual one would be
            too long.
    """
    if name == source.name and not name.name.endswith(ENDING):
        raise UsageError(
            f"{name} is the name of the set that is relabelled.",
            f"Use another `name`, such as `name={f'{name}{ENDING}'!r}`.",
        )
    name = name or usual_name(source.name)
    store.check_kind_of_name(name, registry.SET)
    return name


def usual_name(source: registry.SetName) -> registry.SetName:
    """Return the name of a relabelled set: SOURCE-soft, or SOURCE if that ends so already.

    Raises:
        UsageError: it would be too long.
    """
    own = bare(source)
    text = str(own) if own.name.endswith(ENDING) else f"{own}{ENDING}"
    try:
        return registry.parse_name(text)
    except registry.BadNameError:
        raise UsageError(f"The name {text} is too long.", "Give a shorter one with `name`.") from None


@torch.no_grad()
def soft_labels(
    pool: ExpertPool,
    labels: Relabelled,
    images_NCHW: Tensor,
    device: torch.device,
    progress: Progress = NO_PROGRESS,
) -> Tensor:
    """Return a teacher's probabilities of the classes for each image, N×K float32 on the CPU.

    Args:
        pool: the experts.
        labels: which of them, and the temperature.
        images_NCHW: normalised, on the CPU.
        device: where to compute.
        progress: the meter, which counts images.

    Raises:
        RunError: a probability is not finite.
    """
    prepare_device(device)
    channels, *size = pool.recipe.image_shape
    network = structure(pool.spec, channels, (size[0], size[1]), len(pool.class_names)).eval()
    indices = range(pool.networks) if labels.teacher == MEAN else (labels.teacher,)
    states = [
        tuple({name: tensor.to(device) for name, tensor in part.items()} for part in pool.network(index, labels.epoch))
        for index in indices
    ]
    found, count = list[Tensor](), 0
    for batch_BCHW in torch.split(images_NCHW, _BATCH):
        batch_BCHW = batch_BCHW.to(device)
        logits_MBK = torch.stack([functional_call(network, state, (batch_BCHW,)) for state in states])
        found.append((logits_MBK.float() / labels.temperature).softmax(2).mean(0).cpu())
        count += len(batch_BCHW)
        progress.update(count, len(images_NCHW))
    soft_NK = torch.cat(found)
    if not soft_NK.isfinite().all():
        raise RunError(
            f"The teacher of {pool.reference} gives probabilities that are not finite.",
            "Use another `teacher` or `epoch`, or a `temperature` nearer to 1.",
        )
    return soft_NK


def _find(
    store: registry.Store, source: registry.StoredSet, recipe: Recipe
) -> tuple[registry.StoredSet, dict[str, Array]] | None:
    """Return the newest undamaged set with the same images and this recipe, under any name, and its tensors."""
    own = source.manifest
    for entry in reversed(store.entries()[0]):
        if not entry.soft_labels or (entry.dataset, entry.method) != (own.dataset.name, own.method):
            continue
        with contextlib.suppress(registry.NotFoundError, registry.CorruptError):
            stored = store.read(entry.name, entry.version)
            known = stored.manifest
            same = all(known.tensors[name] == own.tensors[name] for name in ("images", "labels"))
            if same and (known.recipe, known.dataset) == (recipe.to_dict(), own.dataset):
                return stored, store.tensors(stored)
    return None


def _manifest(
    source: registry.StoredSet,
    pool: registry.StoredSet,
    recipe: Recipe,
    tensors: dict[str, Array],
    device: torch.device,
) -> registry.Manifest:
    own = source.manifest
    imported = own.provenance.get("imported from", own.provenance.get("source imported from"))
    provenance: dict[str, registry.JsonValue] = {
        **program_and_time(),
        "environment": f"torch {torch.__version__}, {describe(device)}",
        "source": source.reference,
        "source digest": source.digest,
        "teacher": pool.reference,
        **({"experts": own.provenance["experts"]} if "experts" in own.provenance else {}),
        **({"source imported from": imported} if imported else {}),
        **folder_options(own.provenance),
    }
    return registry.Manifest(
        schema_version=registry.schema_of(registry.SET, recipe.to_dict()),
        dataset=own.dataset,
        method=own.method,
        recipe=recipe.to_dict(),
        network=own.network,
        seed=own.seed,
        tensors=describe_tensors(tensors),
        provenance=provenance,
    )
