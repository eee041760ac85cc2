"""Import of a set that another program made, from a file or folder into the store."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import registry
from dsactl.augmentation.strategy import Strategy, default_strategy, parse_strategy
from dsactl.data.catalogue import CATALOGUE
from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.data.paths import is_folder
from dsactl.data.views import split_name
from dsactl.engine.progress import NO_PROGRESS, ForwardedProgress, Progress
from dsactl.errors import DataError, UsageError
from dsactl.methods.work import CondensedSet
from dsactl.parametrisation.formation import fits
from dsactl.recipes.methods import IMPORTED
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.decoding import decoded
from dsactl.synthetic.importing.contents import is_own_safetensors, read_content
from dsactl.synthetic.importing.images import check_tiles, decode_tiles, to_floats, to_images
from dsactl.synthetic.importing.labels import to_labels
from dsactl.synthetic.importing.layouts import (
    Experiment,
    FileName,
    experiments,
    factor,
    lone_labels,
    parse_file_name,
    sorted_labels,
)
from dsactl.synthetic.importing.own import import_exported, import_safetensors, manifest_text, parse_name
from dsactl.synthetic.importing.source import PIXELS, ZCA, Source, check_method
from dsactl.synthetic.importing.spaces import check_space, remarks, to_normalised
from dsactl.synthetic.storage import store_set
from registry.importing import MAX_BYTES, check_file, read_folder

_NAMED_CLASSES = 12
_LOOKED_AT = 1000
"""Stored images, about, whose values remarks are on."""


def import_sets(
    path: Path, source: Source, store: registry.Store, progress: Progress = NO_PROGRESS
) -> list[registry.StoredSet]:
    """Import a file or folder into the store: one version for each set in it.

    Args:
        path: a file of `export`; a `.pt`, npz, npy, safetensors or parquet file; or a folder CLASS/*.png.
        source: what the file does not contain.
        store: the target store.
        progress: takes remarks for the user on how the content was read.

    Raises:
        DsactlError: the content cannot be used, or `source` is incomplete.
        registry.RegistryError: the content cannot be used, or the store cannot be written to.
    """
    once = _Once(progress)
    name = None if source.name is None else registry.parse_name(source.name)
    if path.is_dir():
        return [_import_folder(path, source, name, store, once)]
    check_file(path)
    whole = is_own_safetensors(path)
    content = None if whole else read_content(path)
    text = manifest_text(content)
    if not whole and text is None:
        return _import_content(path, content, source, name, store, once)
    if source != Source(name=source.name):
        raise UsageError(f"{path} contains its own description.", "Only `name` can be given with it.")
    if text is None:
        return [import_safetensors(path, name, store)]
    return [import_exported(path, content, text, name, store)]


def _import_folder(
    path: Path, source: Source, name: registry.SetName | None, store: registry.Store, progress: Progress
) -> registry.StoredSet:
    if source.space not in (None, PIXELS):
        raise UsageError("Images of a folder are pixels.", "Leave `space` out.")
    if source.experiment is not None or source.labels is not None or source.logits or source.channels is not None:
        raise UsageError(
            f"{path} is a folder.", "`experiment`, `labels`, `logits` and `channels` are only for files of arrays."
        )
    dataset = _load_dataset(path, source, None)
    pixels, labels = read_folder(path, dataset.class_names, (dataset.channels, *dataset.size))
    target = _Import(path, source, name, store, dataset, None, progress)
    given = (torch.from_numpy(labels), None)
    return target.put(torch.from_numpy(pixels), given, PIXELS, source.formation, where=str(path))


def _import_content(
    path: Path, content: Any, source: Source, name: registry.SetName | None, store: registry.Store, progress: Progress
) -> list[registry.StoredSet]:
    found = list(enumerate(experiments(content, str(path))))
    several = len(found) > 1
    if source.experiment is not None:
        if not 0 <= source.experiment < len(found):
            raise UsageError(f"{path} has no experiment {source.experiment}.", f"It has 0 … {len(found) - 1}.")
        found = [found[source.experiment]]
    if 4 * sum(experiment.images.numel() for _, experiment in found) > MAX_BYTES:
        raise DataError(
            f"The images of {path} have more than {MAX_BYTES:,} bytes as floats.",
            "Give one of its experiments, such as `experiment=0`." if len(found) > 1 else "Is it a condensed set?",
        )
    file_name = parse_file_name(path.name)
    dataset = _load_dataset(path, source, file_name)
    target = _Import(path, source, name, store, dataset, file_name, progress)
    formation = source.formation or factor(content)
    checked = []
    for index, experiment in found:
        where = f"{path}, experiment {index}" if several else str(path)
        images, space = _images(experiment, source, dataset, where)
        labels = _labels(experiment, source, dataset, where, progress)
        checked.append((images, labels, space, formation, index if several else None, where))
    return [target.put(*each) for each in checked]


def _images(experiment: Experiment, source: Source, dataset: Dataset, where: str) -> tuple[Tensor, str]:
    """Return images N×C×H×W float32 and their space."""
    images_NCHW = to_images(experiment.images, (dataset.channels, *dataset.size), where, source.channels)
    images_NCHW, levels = to_floats(images_NCHW, where)
    if not levels:
        return images_NCHW, check_space(images_NCHW, source.space, dataset, where)
    if source.space not in (None, PIXELS):
        raise UsageError(f"{where}: the images are 8-bit pixels.", 'Leave `space` out, or give `space="pixels"`.')
    return images_NCHW, PIXELS


def _labels(
    experiment: Experiment, source: Source, dataset: Dataset, where: str, progress: Progress
) -> tuple[Tensor, Tensor | None]:
    """Return the classes N of the images, and their soft labels N×K, if there are any."""
    count, labels, soft = len(experiment.images), experiment.labels, experiment.soft_labels
    if source.labels is not None:
        if labels is not None or soft is not None:
            raise UsageError(f"{where} has labels of its own.", "Leave `labels` out.")
        labels = lone_labels(read_content(source.labels), str(source.labels))
    given = labels if soft is None else soft
    if given is None:
        if source.logits:
            raise UsageError(f"{where} has no labels.", "Give the file with the logits as `labels`.")
        labels_N = sorted_labels(count, dataset.classes, where)
        progress.remark(
            f"{where} has no labels: its images are taken as sorted by class, {count // dataset.classes} of each. "
            "Others are given as `labels`."
        )
        return labels_N, None
    classes_N, soft_NK = to_labels(given, count, dataset.classes, where, logits=source.logits)
    if labels is not None and soft is not None:
        classes_N, _ = to_labels(labels, count, dataset.classes, where)
    return classes_N, soft_NK


def _load_dataset(path: Path, source: Source, file_name: FileName | None) -> Dataset:
    name = source.dataset
    if name is None and file_name is not None and file_name.dataset in CATALOGUE:
        name = file_name.dataset
    if name is None:
        raise UsageError(
            f"The dataset of {path} is unknown; its classes and its normalisation are needed.",
            f"Give it as `dataset`: {', '.join(CATALOGUE)}, or an image folder.",
        )
    return load_dataset(
        name, image_size=source.image_size, test_fraction=source.test_fraction, split_seed=source.split_seed
    )


class _Once(ForwardedProgress):
    """A meter that passes each remark on once."""

    def __init__(self, whole: Progress) -> None:
        super().__init__(whole)
        self._said: set[str] = set()

    def remark(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            super().remark(text)


@dataclass(frozen=True)
class _Import:
    """Source and target of an import."""

    path: Path
    source: Source
    name: registry.SetName | None
    store: registry.Store
    dataset: Dataset
    file_name: FileName | None
    progress: Progress

    def put(
        self,
        images_NCHW: Tensor,
        labels: tuple[Tensor, Tensor | None],
        space: str,
        formation: int | None = None,
        experiment: int | None = None,
        where: str = "",
    ) -> registry.StoredSet:
        """Store one set as a version of the name.

        Args:
            images_NCHW: float32, in `space`; changed in place.
            labels: classes N, and soft labels N×K or None.
            space: see `Source`.
            formation: IDC's factor.
            experiment: index in the file, if it has several.
            where: the file's name, for error messages.
        """
        labels_N, soft_NK = labels
        tiled = 1
        if formation is not None and formation > 1:
            check_tiles(images_NCHW, formation, where)
            repeats = formation**2
            count = f"{repeats * len(labels_N)} in all"
            if space != ZCA and fits(formation, self.dataset.size):
                tiled = formation
                said = f"Each image holds {repeats} tiles, which are enlarged to full images for training: {count}."
            else:  # formation cannot pad images, and whitening is undone on full images
                images_NCHW = decode_tiles(images_NCHW, formation, where)
                labels_N = labels_N.repeat_interleave(repeats)
                soft_NK = None if soft_NK is None else soft_NK.repeat_interleave(repeats, 0)
                said = f"Each image was decoded into its {repeats} tiles, enlarged to full images: {count}."
            self.progress.remark(said)
        order = torch.argsort(labels_N, stable=True)
        images_NCHW = to_normalised(images_NCHW[order], space, self.dataset)
        made = CondensedSet(images_NCHW, labels_N[order], None if soft_NK is None else soft_NK[order])
        recipe = self._recipe(int(labels_N.bincount().max()), tiled)
        if recipe.method == "idc" and formation is None:
            self.progress.remark(
                "If IDC's factor was not 1, each image holds several smaller ones: give `formation=2`."
            )
        self._say(made, recipe, space, "" if experiment is None else f"Experiment {experiment}: ")
        provenance: dict[str, registry.JsonValue] = {
            "imported from": self.path.name.encode(errors="replace").decode()[:200],
            "sha256": self._digest,
            "space": space,
            "experiment": experiment,
            "formation": formation,
        }
        provenance = {key: value for key, value in provenance.items() if value is not None}
        name = self.name or parse_name(self._usual_name(recipe))
        return store_set(self.store, name, self.dataset, recipe, made, provenance)

    def _say(self, made: CondensedSet, recipe: Recipe, space: str, which: str) -> None:
        """Remark on what may be wrong with the set."""
        some = {"images": made.images_NCHW[:: max(1, len(made.images_NCHW) // _LOOKED_AT)]}
        for text in remarks(decoded(some, recipe)["images"], space, self.dataset):
            self.progress.remark(f"{which}{text}")
        names, present = self.dataset.class_names, _classes_present(made)
        if present < len(names):
            have = "has" if present == 1 else "have"
            self.progress.remark(
                f"{which}Only {present} of the {len(names)} classes of {self.dataset.name} {have} images."
            )
        if is_folder(split_name(self.source.dataset or "")[0]) and not self.path.is_dir():
            said = ", ".join(f"{label} = {word}" for label, word in enumerate(names[:_NAMED_CLASSES]))
            self.progress.remark(f"Labels were taken as: {said}{', …' if len(names) > _NAMED_CLASSES else ''}.")

    def _recipe(self, ipc: int, formation: int) -> Recipe:
        method = (self.source.method or (self.file_name.method if self.file_name else IMPORTED)).lower()
        check_method(method)
        name, shape, strategy = self.dataset.name, (self.dataset.channels, *self.dataset.size), self._strategy(method)
        return Recipe(name, self._checksum, method, ipc, 0, shape, strategy, formation=formation)

    @cached_property
    def _checksum(self) -> str:
        return self.dataset.train.checksum()

    @cached_property
    def _digest(self) -> str | None:
        """SHA-256 of the file; None for a folder."""
        if self.path.is_dir():
            return None
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _strategy(self, method: str) -> Strategy:
        if self.source.strategy is not None:
            return parse_strategy(self.source.strategy)
        return Strategy() if method == "dc" else default_strategy(mirrored=self.dataset.mirrored)

    def _usual_name(self, recipe: Recipe) -> str:
        if self.file_name is None:
            return recipe.set_name
        tiled = f"-formation{recipe.formation}" if recipe.formation > 1 else ""
        return f"{recipe.dataset}-{recipe.method}-{self.file_name.arch}-ipc{recipe.ipc}{tiled}"


def _classes_present(made: CondensedSet) -> int:
    """Count the classes with images; an image with soft labels is of each of its most likely classes."""
    if made.soft_labels_NK is None:
        return len(set(made.labels_N.tolist()))
    likely_NK = made.soft_labels_NK == made.soft_labels_NK.amax(1, keepdim=True)
    return int(likely_NK.any(0).sum())
