"""Import of a set that another program made, from a file or folder into the store."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

import registry
from dsactl.augmentation.strategy import Strategy, default_strategy, parse_strategy
from dsactl.data.catalogue import CATALOGUE
from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.errors import DataError, DsactlError, UsageError
from dsactl.methods.work import CondensedSet
from dsactl.recipes.methods import IMPORTED
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.importing.layouts import FileName, parse_file_name, read, to_experiment
from dsactl.synthetic.importing.source import NORMALISED, PIXELS, Source, check_method
from dsactl.synthetic.importing.torch_files import check_is_torch
from dsactl.synthetic.storage import store_set
from registry.files import sha256
from registry.importing import check_file, read_file, read_folder
from registry.pictures import CHANNELS, grid_png
from registry.tensors import decode

MAX_PIXEL_EXCESS = 2.0
"""Values beyond 0 … 1 by more than this are not pixels of 0 … 1; ours."""


def import_sets(path: Path, source: Source, store: registry.Store) -> list[registry.StoredSet]:
    """Import a file or folder into the store: one version for each set in it.

    Args:
        path: this program's safetensors file, a `.pt` file, or a folder CLASS/*.png.
        source: what the file does not contain.
        store: the target store.

    Raises:
        DsactlError: the content cannot be used, or `source` is incomplete.
        registry.RegistryError: the content cannot be used, or the store cannot be written to.
    """
    name = None if source.name is None else registry.parse_name(source.name)
    if path.is_dir():
        return [_import_folder(path, source, name, store)]
    check_file(path)
    if _is_safetensors(path):
        return [_import_safetensors(path, source, name, store)]
    return _import_torch(path, source, name, store)


def _is_safetensors(path: Path) -> bool:
    if path.suffix.lower() == ".safetensors":
        return True
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _import_safetensors(
    path: Path, source: Source, name: registry.SetName | None, store: registry.Store
) -> registry.StoredSet:
    if source != Source(name=source.name):
        raise UsageError(f"{path} contains its own description.", "Only `name` can be given with it.")
    # Besides the tensors, either the file's bytes or the preview are in memory, not both.
    data = read_file(path)
    digest = sha256(data)
    arrays, manifest = decode(data, str(path))
    del data
    images, info = arrays["images"], manifest.dataset
    drawable = images.shape[1] in CHANNELS
    picture = grid_png(images, arrays["labels"], info.mean, info.std) if drawable else None
    data = read_file(path)
    if sha256(data) != digest:
        raise DataError(f"{path} was changed while it was read.", "Import it again.")
    return store.put_file(name or _own_name(manifest, path), data, arrays, manifest, picture)


def _own_name(manifest: registry.Manifest, path: Path) -> registry.SetName:
    """Return the name from the set's recipe, else the file's name."""
    try:
        return registry.parse_name(Recipe.from_dict(manifest.recipe).set_name)
    except (DsactlError, registry.BadNameError):
        return _parse_name(path.stem.lower())


def _parse_name(text: str) -> registry.SetName:
    try:
        return registry.parse_name(text)
    except registry.BadNameError:
        raise UsageError(f"{text!r:.200} cannot be the set's name.", "Give one as `name`.") from None


def _import_folder(
    path: Path, source: Source, name: registry.SetName | None, store: registry.Store
) -> registry.StoredSet:
    if source.space == NORMALISED:
        raise UsageError("Images of a folder are pixels.", "Leave `space` out.")
    if source.experiment is not None or source.labels is not None:
        raise UsageError(f"{path} is a folder.", "`experiment` and `labels` are only for .pt files.")
    dataset = _load_dataset(path, source, None)
    pixels, labels = read_folder(path, dataset.class_names, (dataset.channels, *dataset.size))
    images_NCHW = _normalise(torch.from_numpy(pixels), dataset)
    return _Import(path, source, name, store, dataset, None).put(images_NCHW, torch.from_numpy(labels), PIXELS)


def _import_torch(
    path: Path, source: Source, name: registry.SetName | None, store: registry.Store
) -> list[registry.StoredSet]:
    check_is_torch(path)
    file_name = parse_file_name(path.name)
    dataset = _load_dataset(path, source, file_name)
    pairs = list(enumerate(read(path, dataset.classes, source.labels)))
    several = len(pairs) > 1
    if source.experiment is not None:
        if not 0 <= source.experiment < len(pairs):
            raise UsageError(f"{path} has no experiment {source.experiment}.", f"It has 0 … {len(pairs) - 1}.")
        pairs = [pairs[source.experiment]]
    target = _Import(path, source, name, store, dataset, file_name)
    stored = []
    for index, (images, labels) in pairs:
        where = f"{path}, experiment {index}" if several else str(path)
        found = to_experiment(images, labels, dataset.classes, (dataset.channels, *dataset.size), where)
        space = _check_space(found.images_NCHW, source.space, where)
        images_NCHW = _normalise(found.images_NCHW, dataset) if space == PIXELS else found.images_NCHW
        stored.append(target.put(images_NCHW, found.labels_N, space, index if several else None))
    return stored


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


def _normalise(pixels_NCHW: Tensor, dataset: Dataset) -> Tensor:
    """Normalise pixels by the dataset's constants, in place."""
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (dataset.mean, dataset.std))
    return pixels_NCHW.sub_(mean).div_(std)


def _check_space(images_NCHW: Tensor, space: str | None, where: str) -> str:
    """Return the space of the images: the given one, else normalised; check that their values agree with it.

    Raises:
        UsageError: they do not; the hint says which `space` to give.
    """
    least, most = images_NCHW.min().item(), images_NCHW.max().item()
    if space == PIXELS and (least < -MAX_PIXEL_EXCESS or most > 1 + MAX_PIXEL_EXCESS):
        raise UsageError(
            f"{where}: values of {least:.3g} … {most:.3g} are not pixels of 0 … 1.",
            "Leave `space` out if they are normalised; divide by 255 if they have 8 bits.",
        )
    if space is None and least >= 0 and most <= 1:
        raise UsageError(
            f"{where}: all values lie in 0 … 1, like those of pixels and unlike those of normalised images.",
            'Add `space="pixels"`; or `space="normalised"`, if they are normalised.',
        )
    return space or NORMALISED


@dataclass(frozen=True)
class _Import:
    """Source and target of an import."""

    path: Path
    source: Source
    name: registry.SetName | None
    store: registry.Store
    dataset: Dataset
    file_name: FileName | None

    def put(
        self, images_NCHW: Tensor, labels_N: Tensor, space: str, experiment: int | None = None
    ) -> registry.StoredSet:
        """Store one set as a version of the name."""
        recipe = self._recipe(int(labels_N.bincount().max()))
        provenance: dict[str, registry.JsonValue] = {
            "imported from": self.path.name.encode(errors="replace").decode()[:200],
            "sha256": self._digest,
            "space": space,
            "experiment": experiment,
        }
        provenance = {key: value for key, value in provenance.items() if value is not None}
        name = self.name or _parse_name(self._usual_name(recipe))
        return store_set(self.store, name, self.dataset, recipe, CondensedSet(images_NCHW, labels_N), provenance)

    def _recipe(self, ipc: int) -> Recipe:
        method = (self.source.method or (self.file_name.method if self.file_name else IMPORTED)).lower()
        check_method(method)
        channels, size = self.dataset.channels, self.dataset.size
        return Recipe(self.dataset.name, self._checksum, method, ipc, 0, (channels, *size), self._strategy(method))

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
        return f"{recipe.dataset}-{recipe.method}-{self.file_name.arch}-ipc{recipe.ipc}"
