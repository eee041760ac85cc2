"""The command `dsactl show`."""

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dsactl.augmentation.strategy import KINDS, Strategy
from dsactl.cli import options, terminal_image
from dsactl.cli.output import Output
from dsactl.cli.stored_set import contents, to_json, to_train_on
from dsactl.cli.streams import can_encode
from dsactl.evaluation.shown import training
from dsactl.text.artifacts import cost_in_words, labels_of
from dsactl.text.formatting import (
    accuracy,
    bytes_in_words,
    duration,
    in_words,
    many,
    mean_and_deviation,
    to_the_minute,
)
from dsactl.text.tables import Facts, Table
from registry.cost import Cost, fit_in_8_bits

if TYPE_CHECKING:
    import registry

EXAMPLES = """Examples:

  dsactl show digits-dsa-convnet-ipc1
  dsactl show mnist-dsa-convnet-ipc1:2 --json
  dsactl show mnist-dsa-convnet-ipc1 --code > load_mnist.py"""

_WIDEST_PICTURE, _CLASSES_PER_ROW = 120, 5


def command(
    reference: options.Reference,
    code: Annotated[
        bool, typer.Option("--code", help="Python code that loads the set, instead of the description.")
    ] = False,
    picture: Annotated[
        bool | None,
        typer.Option(
            "--picture/--no-picture",
            help="Images as a picture in the terminal, in letters if it has no colours.  "
            "\\[on a terminal with colours]",
        ),
    ] = None,
    *,
    output: Output,
) -> None:
    """Show a set's recipe, files, evaluations and images, or a pool's recipe and files."""
    import registry
    from dsactl.synthetic import bundled

    store = registry.Store()
    where, stored = bundled.find(reference, store)
    manifest, evaluations = stored.manifest, bundled.evaluations(stored, store)
    if code:
        text = _code(stored)
        output.answer({"code": text}, [stored.reference], [Text(text)])
        return
    value = {
        **to_json(stored),
        "stored": stored.stored,
        "manifest": manifest.model_dump(mode="json"),
        "evaluations": evaluations,
    }
    if stored.kind == registry.EXPERTS:
        output.answer(value, [stored.reference], [_about(stored)])
        return
    cost, fitting = Cost.of_manifest(manifest), _fit_in_8_bits(where, stored)
    value["cost"] = {**asdict(cost), "image_bytes_8_bit": cost.numbers if fitting else None}
    results = _results(evaluations)
    shown: list[str | Table | Facts] = ["", results] if evaluations else []
    colours = output.has_colours and can_encode(terminal_image.HALF_BLOCK)
    wanted = output.is_terminal and colours if picture is None else picture
    drawn = _drawn(where, stored, min(output.width, _WIDEST_PICTURE), colours) if wanted else []
    output.answer(value, [stored.reference], [_about(stored, cost_in_words(cost, fitting)), *shown, *drawn])
    if not evaluations:
        output.note(f"Not evaluated yet. Next: dsactl evaluate {stored.reference}")


def _fit_in_8_bits(store: "registry.Reader", stored: "registry.StoredSet") -> bool | None:
    """Return whether a set is 8-bit images; None if its file is damaged."""
    import registry

    with contextlib.suppress(registry.RegistryError):
        return fit_in_8_bits(store.tensors(stored)["images"], stored.manifest.dataset.mean, stored.manifest.dataset.std)
    return None


def _about(stored: "registry.StoredSet", cost: str = "") -> Facts:
    manifest, info, pool = stored.manifest, stored.manifest.dataset, stored.manifest.pool
    about = Facts()
    about.add("set" if pool is None else "experts", stored.reference)
    about.add("digest", f"@sha256:{stored.digest}")
    about.add("dataset", f"{info.name} ({info.split}), {many(sum(info.counts), 'image', ',')}")
    about.add("classes", ", ".join(info.class_names))
    normalised = f"normalised with mean {info.mean}, std {info.std}"
    if pool is None:
        about.add("images", f"{contents(stored)}, {normalised}")
        about.add("method", manifest.method + (f" on {manifest.network}" if manifest.network else ""))
    else:
        about.add("networks", f"{contents(stored)}: {manifest.network}")
        about.add("images", normalised)
    if pool is None:
        what = "a distribution over the classes" if manifest.has_soft_labels else "a class"
        about.add("labels", f"{labels_of(stored)}: {what} per image")
        about.add("cost", cost)
    about.add("recipe", "")
    for key, item in manifest.recipe.items():
        if key not in ("dataset", "checksum", "method"):
            about.add(f"  {key.replace('_', ' ')}", in_words(item))
    for key, item in manifest.provenance.items():
        about.add(key, duration(item) if key == "seconds" and isinstance(item, float) else in_words(item))
    about.add("file", f"{stored.file} ({bytes_in_words(stored.size)})", whole=True)
    if stored.picture:
        about.add("picture", str(stored.picture), whole=True)
    return about


def _results(evaluations: list[dict[str, Any]]) -> Table:
    """Return a table with one row per evaluation; with the test images, if these are not the same in all."""
    columns = ["tested on", "accuracy %", "n", "paper %", "epochs", "augmentation", "when"]
    tested = [record["test_checksum"] for record in evaluations if "test_checksum" in record]  # 0.1 had none at first
    differ = len(set(tested)) > 1
    if differ:
        columns.insert(1, "test images")
    results = Table(columns, right=("accuracy %", "n", "paper %", "epochs"), optional=("when",))
    for record in evaluations:
        paper = record.get("paper")
        results.add(
            str(record.get("network", "?")),
            *([_test_images(record)] if differ else []),
            accuracy(record),
            str(record.get("n", "?")),
            mean_and_deviation(*paper) if isinstance(paper, list) and len(paper) == 2 else "–",
            str(record.get("epochs", "?")),
            training(record),
            to_the_minute(str(record.get("created", "?"))),
        )
    return results


def _test_images(record: dict[str, Any]) -> str:
    """Return the number of test images of an evaluation, and the first digits of their checksum."""
    return f"{record.get('test_images', '?')} ({str(record.get('test_checksum', '?'))[:8]})"


def _drawn(store: "registry.Reader", stored: "registry.StoredSet", width: int, colours: bool) -> list[Text]:
    """Draw the images at up to the terminal's width; empty if they cannot be drawn."""
    import registry
    from registry.pictures import grid_png

    info = stored.manifest.dataset
    with contextlib.suppress(registry.RegistryError):
        tensors = store.tensors(stored)
        images, labels = tensors["images"], tensors["labels"]
        grid = grid_png(images, labels, info.mean, info.std, classes_per_row=_CLASSES_PER_ROW)
        return [terminal_image.draw(grid, width, colours=colours)]
    return []


def _code(stored: "registry.StoredSet") -> str:
    """Return Python code that loads a set or pool, with dsactl and with safetensors alone."""
    if stored.manifest.pool is not None:
        return _code_of_pool(stored, stored.manifest.pool)
    info, shape = stored.manifest.dataset, contents(stored)
    strategy = stored.manifest.recipe.get("strategy")
    made_for = Strategy(kind for kind in KINDS if isinstance(strategy, list) and kind in strategy)
    soft = stored.manifest.has_soft_labels
    labels, what = ("soft_labels", "distributions over the classes") if soft else ("labels", "labels int64")
    return f'''# {stored.reference}, @sha256:{stored.digest}
import dsactl

condensed = dsactl.load("{stored.reference}")
for images, labels in condensed.batches(epochs=1000):  # shuffled, augmented as for its evaluation
    ...  # one step of training

# The same without dsactl: images {shape} float32{to_train_on(stored)}, normalised, and {what}.
# Normalise other images by (pixels / 255 - mean) / std. Augmentation of the set: {made_for}.
from safetensors.torch import load_file

tensors = load_file({str(stored.file)!r})
images, labels = tensors["images"], tensors["{labels}"]{_decoding(stored.manifest.formation)}
class_names = {info.class_names!r}
mean, std = {info.mean!r}, {info.std!r}'''


def _decoding(formation: int) -> str:
    """Return code that decodes stored images, with PyTorch alone; empty without formation."""
    if formation == 1:
        return ""
    return f"""

# Each image holds {formation}×{formation} to train on, which are enlarged to its size.
from torch.nn.functional import interpolate

n, c, h, w = images.shape
small = images.view(n, c, {formation}, h // {formation}, {formation}, w // {formation}).permute(0, 2, 4, 1, 3, 5)
images = interpolate(small.flatten(0, 2), size=(h, w), mode="bilinear")
labels = labels.repeat_interleave({formation**2}, 0)"""


def _code_of_pool(stored: "registry.StoredSet", pool: "registry.Pool") -> str:
    last = pool.epochs[-1]
    return f'''# {stored.reference}, @sha256:{stored.digest}
import dsactl

pool = dsactl.load_experts("{stored.reference}")  # {contents(stored)}
parameters, buffers = pool.network(0, {last})  # for torch.func.functional_call

# The same tensors without dsactl, by NETWORK.EPOCH.NAME.
from safetensors.torch import load_file

tensors = load_file({str(stored.file)!r})
parameters = {{name[len("0.{last}."):]: tensor for name, tensor in tensors.items() if name.startswith("0.{last}.")}}'''
