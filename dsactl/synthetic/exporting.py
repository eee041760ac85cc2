"""What exports need beside the registry's formats: a `.pt` file for the programs of DC, DSA and their relatives, and
pictures of sets with several images in each stored one.

    {"data": [[images, labels]], "accs_all_exps": {}}

Images are float32 N×C×H×W in normalised space, labels int64 N: what those programs load and train on. Soft labels, if
the set has them, are beside them under "soft_labels", since those programs take the labels for class numbers. The set's
manifest is a string, so that `torch.load(FILE, weights_only=True)` reads all of it.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import torch

import registry
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.decoding import decoded
from registry.export import Exported, Shown, export
from registry.tensors import MANIFEST_KEY, Array, to_text

PT = "pt"


def to_pt(arrays: Mapping[str, Array], manifest: registry.Manifest) -> bytes:
    """Return a set as the bytes of a torch.save file, the same for the same set."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    content = {
        "data": [[tensors.pop("images"), tensors.pop("labels")]],
        "accs_all_exps": {},
        **tensors,
        MANIFEST_KEY: to_text(manifest),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def export_pt(store: registry.Reader, stored: registry.StoredSet, output: Path, *, force: bool = False) -> Exported:
    """Write a set as a `.pt` file; arguments and errors are those of `registry.export.export`."""
    return export(store, stored, output, PT, force=force, writer=to_pt)


def pictures_of(stored: registry.StoredSet) -> Shown:
    """Return the function that decodes a set's tensors for `registry.export.export`.

    Raises:
        DataError: its recipe is not known here.
    """
    recipe = Recipe.from_dict(stored.manifest.recipe)

    def shown(arrays: Mapping[str, Array]) -> dict[str, Array]:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        return {name: tensor.numpy() for name, tensor in decoded(tensors, recipe).items()}

    return shown
