import shlex
from dataclasses import replace

import pytest
import samples

import registry
from dsactl.cli.recipe_command import condense_command, set_command
from dsactl.data.catalogue import CATALOGUE
from dsactl.recipe import Recipe, Request


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
            Request("svhn", 50, inner_steps=10, strategy="none", arch="mlp"),
            "dsactl condense svhn --ipc 50 --arch mlp --precision bfloat16 --inner-steps 10 --network-epochs 50 "
            "--strategy none",
        ),
        (Request("digits", 1, network_epochs=7, init="noise", distance="mse", image_lr=1.5), None),
        (Request("usps", 3, image_momentum=0.0, network_lr=0.1, batch_real=8, batch_synthetic=9, batch_train=7), None),
        (Request("fashionmnist", 1, strategy="crop_flip", iterations=5, width=64, depth=1, pooling="max"), None),
        (
            Request("my photos", 1, "random"),
            "dsactl condense 'FOLDER/my photos' --ipc 1 --method random --image-size 20",
        ),
    ],
)
def test_the_command_resolves_to_the_recipe(request_: Request, command: str | None) -> None:
    recipe = resolve(request_)
    made = condense_command(recipe)
    assert command in (None, made)
    _, _, dataset, *rest = shlex.split(made)
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(rest[::2], rest[1::2], strict=True)
    }
    typed = {name: _number(value) for name, value in given.items()}
    again = Request.parse({"dataset": dataset.removeprefix("FOLDER/"), **typed})
    assert resolve(again, "float32") == recipe


def manifest(recipe: Recipe, **provenance: str) -> registry.Manifest:
    arrays = samples.tensors()
    return samples.manifest(arrays, **provenance).model_copy(update={"recipe": recipe.to_dict()})


def test_only_what_condense_made_has_a_command() -> None:
    made = resolve(Request("digits", 1))
    assert set_command(manifest(made)) == condense_command(made)
    assert set_command(manifest(resolve(Request("digits", 1, "random")))) is not None
    # The authors' file, whose method condense has too, and which says nothing of how it was called.
    theirs = Recipe("digits", "0" * 64, "dsa", 1, 0, (1, 8, 8), ())
    assert set_command(manifest(theirs, **{"imported from": "res_DSA_digits_ConvNet_1ipc.pt"})) is None
    assert set_command(manifest(made, **{"imported from": "made.pt"})) is None
    # Nor is any of these the recipe of something that condense could have made.
    for other in (theirs, replace(theirs, method="mtt"), replace(made, method="random"), replace(theirs, method="")):
        assert set_command(manifest(other)) is None
    assert set_command(samples.manifest(samples.tensors())) is None


def _number(text: str) -> float | int | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
