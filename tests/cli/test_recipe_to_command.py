import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import samples
from reference import write_folder
from sessions import session

import dsactl
import registry
from dsactl.augmentation.strategy import Strategy
from dsactl.cli.recipe_to_command import condense_command, set_command
from dsactl.data.catalogue import CATALOGUE
from dsactl.expert_pools.recipe import PoolRecipe, PoolRequest
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Recipe, Request
from dsactl.runs.job import prepare
from dsactl.runs.run import execute


def resolve(request: Request, precision: str = "bfloat16") -> Recipe:
    entry = CATALOGUE.get(request.dataset)
    shape = (entry.channels, *entry.size) if entry else (3, 20, 20)
    mirrored = entry is None or entry.mirrored
    used = precision if request.precision == "auto" else request.precision
    return request.resolve(request.dataset, "0" * 64, shape, mirrored=mirrored, precision=used)


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        (Request("mnist", 1), "dsactl condense mnist --ipc 1 --precision bfloat16"),
        (Request("cifar10", 10, "random", seed=3), "dsactl condense cifar10 --ipc 10 --method random --seed 3"),
        (
            Request("digits", 2, "dc", "convnet", 2, norm="batch"),
            "dsactl condense digits --ipc 2 --method dc --norm batch --precision bfloat16",
        ),
        (
            Request.of("svhn", 50, inner_steps=10, strategy=Strategy(), arch="mlp"),
            "dsactl condense svhn --ipc 50 --arch mlp --precision bfloat16 --inner-steps 10 --network-epochs 50 "
            "--strategy none",
        ),
        (Request.of("digits", 1, network_epochs=7, init="noise", distance="mse", image_lr=1.5), None),
        (
            Request.of("usps", 3, image_momentum=0.0, network_lr=0.1, batch_real=8, batch_synthetic=9, batch_train=7),
            None,
        ),
        (
            Request.of(
                "fashionmnist", 1, strategy=Strategy(["crop", "flip"]), iterations=5, width=64, depth=1, pooling="max"
            ),
            None,
        ),
        (
            Request("mnist", 1, "idc", formation=2),
            "dsactl condense mnist --ipc 1 --method idc --precision bfloat16 --formation 2",
        ),
        (
            Request.of("mnist", 1, method="idc", formation=2, matching_strategy="color_crop_cutout"),
            "dsactl condense mnist --ipc 1 --method idc --precision bfloat16 "
            "--matching-strategy color_crop_cutout --formation 2",
        ),
        (Request("my photos", 1, "random"), "dsactl condense 'FOLDER/my photos' --ipc 1 --method random"),
    ],
)
def test_the_command_resolves_to_the_recipe(request_: Request, command: str | None) -> None:
    recipe = resolve(request_)
    made = condense_command(recipe, {})
    assert command in (None, made)
    again = parse(made)
    assert resolve(again, "float32") == recipe


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ({"image_size": 6, "test_fraction": 0.3, "split_seed": 7}, "--image-size 6 --test-fraction 0.3 --split-seed 7"),
        ({"test_fraction": 0.5}, "--test-fraction 0.5"),
        ({"view": "@1x4x4"}, ""),
        ({}, ""),
    ],
)
def test_the_command_of_a_folder_s_set_includes_its_options(
    options: dict[str, Any], typed: str, tmp_path: Path
) -> None:
    folder = f"{write_folder(tmp_path / 'shapes')}{options.pop('view', '')}"
    made = prepare(Request(folder, 1, "random", **options), "cpu")
    command = set_command(execute(made, session()).stored.manifest)
    assert command == f"dsactl condense FOLDER/{Path(folder).name} --ipc 1 --method random {typed}".strip()
    again = prepare(replace(parse(command), dataset=folder), "cpu")
    assert (again.recipe, again.source) == (made.recipe, made.source)


def manifest(recipe: Recipe, **provenance: str) -> registry.Manifest:
    arrays = samples.tensors()
    return samples.manifest(arrays, **provenance).model_copy(update={"recipe": recipe.to_dict()})


def test_only_condensed_sets_have_a_command() -> None:
    made = resolve(Request("digits", 1))
    assert set_command(manifest(made)) == condense_command(made, {})
    assert set_command(manifest(resolve(Request("digits", 1, "random")))) is not None
    # The authors' file, whose method condense has too, and which says nothing of how it was called.
    theirs = Recipe("digits", "0" * 64, "dsa", 1, 0, (1, 8, 8), ())
    assert set_command(manifest(theirs, **{"imported from": "res_DSA_digits_ConvNet_1ipc.pt"})) is None
    assert set_command(manifest(made, **{"imported from": "made.pt"})) is None
    # Nor is any of these the recipe of something that condense could have made.
    for other in (theirs, replace(theirs, method="mtt"), replace(made, method="random"), replace(theirs, method="")):
        assert set_command(manifest(other)) is None
    assert set_command(samples.manifest(samples.tensors())) is None


def parse(command: str) -> Request:
    """Parse a command into a request, with a folder's name as the dataset."""
    _, _, dataset, *rest = shlex.split(command)
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    given = {name.removeprefix("--").replace("-", "_"): _number(value) for name, value in pairs}
    return Request.parse({"dataset": dataset.removeprefix("FOLDER/"), **given})


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@pytest.mark.parametrize(
    ("options", "typed"),
    [
        ({}, ""),
        ({"networks": 20, "epochs": 30, "keep": (30, 0, 7)}, "--epochs 30 --networks 20 --keep 0,7,30"),
        ({"network": NetworkSpec("mlp"), "seed": 3}, "--arch mlp --seed 3"),
        ({"network": NetworkSpec(width=8, norm="batch"), "cutmix": 0.0}, "--width 8 --norm batch --cutmix 0.0"),
        ({"strategy": "none", "lr": 0.04, "batch": 256}, "--batch 256 --lr 0.04 --strategy none"),
    ],
)
def test_the_command_of_a_pool_resolves_to_its_recipe(options: dict[str, Any], typed: str) -> None:
    recipe = PoolRequest(**options).resolve("digits", "0" * 64, (1, 8, 8), "float32")
    known = manifest_of_pool(recipe)
    assert set_command(known) == " ".join(f"dsactl experts digits {typed} --precision float32".split())
    assert set_command(known.model_copy(update={"recipe": {"other": 1}})) is None


def test_the_command_of_a_folder_s_pool_includes_its_options(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "shapes")
    pool = dsactl.experts(
        folder, image_size=6, test_fraction=0.3, networks=1, epochs=1, network=NetworkSpec("mlp"), precision="float32"
    )
    (stored,) = registry.Store().pools()
    assert stored.digest == pool.digest
    assert set_command(stored.manifest) == (
        "dsactl experts FOLDER/shapes --arch mlp --epochs 1 --networks 1 --precision float32 --image-size 6 "
        "--test-fraction 0.3"
    )


def manifest_of_pool(recipe: PoolRecipe) -> registry.Manifest:
    return manifest(Recipe("digits", "0" * 64, "random", 1, 0, (1, 8, 8), Strategy())).model_copy(
        update={
            "recipe": recipe.to_dict(),
            "pool": registry.Pool(networks=recipe.networks, epochs=list(recipe.keep)),
        }
    )
