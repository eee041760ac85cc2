"""Classes with fewer training images than `ipc`: refused, all of their images, or repeated ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsactl
import registry
from dsactl.errors import DataError, UsageError
from dsactl.recipes.recipe import Recipe, Request

COUNTS = {"a": 6, "b": 6, "c": 2, "d": 1}
IPC = 4
FAST = {
    "random": {},
    "herding": {"epochs": 1},
    "kcenter": {"epochs": 1},
    "forgetting": {"epochs": 1},
    "ld": {"iterations": 1, "arch": "mlp"},
    "dsa": {"iterations": 1, "inner_steps": 1, "network_epochs": 1, "arch": "mlp"},
    "dc": {"iterations": 1, "inner_steps": 1, "network_epochs": 1, "arch": "mlp", "init": "real"},
    "dd": {"iterations": 1, "inner_steps": 1, "init": "real", "arch": "mlp"},
    "idc": {"iterations": 1, "inner_steps": 2, "arch": "mlp"},
    "dm": {"iterations": 1, "image_lr": 0.01, "arch": "mlp"},
}
TAKES_FEWER = ("random", "herding", "kcenter", "forgetting", "ld")


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Training images as in `COUNTS`, one test image of each class."""
    for split, counts in (("train", COUNTS), ("test", dict.fromkeys(COUNTS, 1))):
        for label, (name, count) in enumerate(counts.items()):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                noise = np.random.default_rng([len(split), label, index]).integers(0, 256, (8, 8), dtype=np.uint8)
                Image.fromarray(noise).save(folder / f"{index}.png")
    return str(tmp_path / "set")


def test_short_classes_are_counted_and_the_option_is_named(root: str) -> None:
    said = r"2 of the 4 classes of set have fewer than `ipc=4` training images; the smallest, 'd', has 1"
    with pytest.raises(DataError, match=said) as raised:
        dsactl.condense(root, ipc=IPC, method="random")
    assert "Use `ipc=1` or less" in raised.value.hint
    assert '`condense(..., short_classes="repeat")`' in raised.value.hint


@pytest.mark.parametrize("method", TAKES_FEWER)
def test_all_images_of_a_short_class_are_taken_once(root: str, method: str) -> None:
    made = dsactl.condense(root, ipc=IPC, method=method, short_classes="all", **FAST[method])
    real = dsactl.load_dataset(root)
    assert torch.bincount(made.labels).tolist() == [4, 4, 2, 1]
    own = {image.numpy().tobytes() for image in real.normalise(real.train.images_NCHW)}
    images = [image.numpy().tobytes() for image in made.images]
    assert len(set(images)) == len(images)
    assert set(images) <= own
    assert dsactl.evaluate(made, networks=1, epochs=1).test_images == 4


@pytest.mark.parametrize("method", sorted({*FAST} - {*TAKES_FEWER}))
def test_methods_of_as_many_images_of_every_class_refuse_all(root: str, method: str) -> None:
    with pytest.raises(UsageError, match=f"Method '{method}' makes `ipc` images of every class") as raised:
        dsactl.condense(root, ipc=IPC, method=method, short_classes="all")
    assert raised.value.hint == 'Use `short_classes="repeat"`.'


@pytest.mark.parametrize("method", FAST)
def test_images_are_repeated_in_turn(root: str, method: str) -> None:
    made = dsactl.condense(root, ipc=IPC, method=method, short_classes="repeat", **FAST[method])
    assert torch.bincount(made.labels).tolist() == [IPC] * 4
    if method in TAKES_FEWER:
        taken = [{image.numpy().tobytes() for image in made.images[made.labels == label]} for label in range(4)]
        assert list(map(len, taken)) == [4, 4, 2, 1]
    else:  # after one step the images have hardly moved, and two copies differ by little
        images = made.images[made.labels == 3]
        assert (images - images[0]).abs().max() < 1


def test_tiles_are_repeated_in_turn(root: str) -> None:
    said = r"2 of the 4 classes of set have fewer than 4 \(`ipc=1`, `formation=2`\) training images; the smallest, 'd'"
    with pytest.raises(DataError, match=said) as raised:
        dsactl.condense(root, ipc=1, method="random", formation=2)
    assert "Use a smaller `formation`, or add images" in raised.value.hint
    made = dsactl.condense(root, ipc=1, method="random", formation=2, short_classes="repeat")
    assert torch.bincount(made.labels).tolist() == [4] * 4
    tiles = [{image.numpy().tobytes() for image in made.images[made.labels == label]} for label in range(4)]
    assert list(map(len, tiles)) == [4, 4, 2, 1]
    learned = dsactl.condense(root, ipc=1, formation=2, short_classes="repeat", image_lr=1e-6, **FAST["dsa"])
    of_d = learned.images[learned.labels == 3]
    torch.testing.assert_close(of_d, of_d[:1].expand_as(of_d), atol=1e-3, rtol=0)


def test_a_stored_image_has_no_fewer_tiles(root: str) -> None:
    with pytest.raises(UsageError, match='`short_classes="all"` does not go with `formation`') as raised:
        dsactl.condense(root, ipc=1, method="random", formation=2, short_classes="all")
    assert 'Use `short_classes="repeat"`' in raised.value.hint


def test_what_is_not_short_is_made_as_ever(root: str) -> None:
    usual = dsactl.condense(root, ipc=1, method="random")
    for how in ("all", "repeat"):
        other = dsactl.condense(root, ipc=1, method="random", short_classes=how)
        assert torch.equal(usual.images, other.images)


def test_the_default_is_no_part_of_a_recipe(root: str) -> None:
    made = dsactl.condense(root, ipc=1, method="random")
    assert "short_classes" not in made.recipe.to_dict()
    other = dsactl.condense(root, ipc=1, method="random", short_classes="repeat")
    assert other.recipe.digest() != made.recipe.digest()
    for recipe in (made.recipe, other.recipe):
        assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_other_words_are_refused() -> None:
    with pytest.raises(UsageError, match="short_classes"):
        Request.parse({"dataset": "digits", "ipc": 1, "short_classes": "some"})


def test_the_command_of_a_set_names_the_option(root: str) -> None:
    from dsactl.cli.recipe_to_command import set_command

    made = dsactl.condense(root, ipc=IPC, method="random", short_classes="all")
    manifest = registry.Store().find(registry.parse_reference(made.reference)).manifest
    assert set_command(manifest) == "dsactl condense FOLDER/set --ipc 4 --method random --short-classes all"
