import pytest

from dsactl.augmentation.strategy import Strategy
from dsactl.errors import DsactlError, UnknownNameError, UsageError
from dsactl.methods.gradient_matching.schedule import loops
from dsactl.networks.catalogue import NetworkSpec
from dsactl.paper import SCHEDULE
from dsactl.recipes.recipe import Recipe, Request


def resolve(**values: object) -> Recipe:
    request = Request.parse({"dataset": "cifar10", "ipc": 10, **values})
    return request.resolve("cifar10", "0" * 64, (3, 32, 32), mirrored=True, precision="float32")


def test_the_paper_s_defaults() -> None:
    recipe = resolve()
    assert (recipe.settings.iterations, recipe.settings.inner_steps, recipe.settings.network_epochs) == (1000, 10, 50)
    assert (recipe.settings.image_lr, recipe.settings.image_momentum, recipe.settings.network_lr) == (0.1, 0.5, 0.01)
    assert (recipe.settings.batch_real, recipe.settings.batch_synthetic, recipe.settings.batch_train) == (256, 256, 256)
    assert (recipe.settings.init, recipe.settings.distance) == ("real", "ours")
    assert recipe.strategy == ("color", "crop", "cutout", "flip", "scale", "rotate")
    assert recipe.network == NetworkSpec("convnet", 3, 128, "instance", "relu", "avg")
    assert recipe.set_name == "cifar10-dsa-convnet-ipc10"
    dc = resolve(method="dc")
    assert (dc.settings.init, dc.strategy) == ("noise", ())
    assert resolve(arch="mlp").settings.image_lr == 0.01
    assert resolve(arch="mlp", image_lr=0.2).settings.image_lr == 0.2


def test_which_recipes_are_the_paper_s() -> None:
    for values in ({}, {"seed": 4}, {"method": "dc"}, {"method": "random"}, {"arch": "mlp"}, {"ipc": 50}, {"depth": 3}):
        assert resolve(**values).is_papers, values
    for values in (
        {"iterations": 999},
        {"ipc": 2},
        {"strategy": "crop"},
        {"image_lr": 0.2},
        {"depth": 2},
        {"formation": 2},
    ):
        assert not resolve(**values).is_papers, values


def test_the_published_schedule_and_ours() -> None:
    assert [loops(ipc) for ipc in (1, 10, 20, 30, 40, 50)] == [(1, 1), (10, 50), (20, 25), (30, 20), (40, 15), (50, 10)]
    assert set(SCHEDULE) == {1, 10, 20, 30, 40, 50}
    assert [loops(10, steps) for steps in (10, 5, 1)] == [(10, 50), (5, 100), (1, 500)]
    assert [loops(ipc) for ipc in (2, 3, 7, 100, 1000)] == [(2, 250), (3, 167), (7, 71), (50, 10), (50, 10)]


def test_recipes_survive_json_and_are_keyed_by_all_they_hold() -> None:
    for recipe in (resolve(), resolve(method="dc", norm="batch"), resolve(method="random")):
        assert Recipe.from_dict(recipe.to_dict()) == recipe
    digests = {
        resolve(**change).digest()
        for change in ({}, {"seed": 1}, {"image_lr": 0.2}, {"depth": 2}, {"strategy": "crop"}, {"iterations": 999})
    }
    assert len(digests) == 6
    assert resolve(iterations=1000).digest() == resolve().digest()
    # Saying a default aloud changes nothing.
    assert resolve(depth=3, norm="instance").digest() == resolve().digest()
    assert "iterations" not in resolve(method="random").to_dict()
    assert resolve(method="random").set_name == "cifar10-random-ipc10"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ipc": 0}, "`ipc`: input should be greater than or equal to 1, not 0"),
        ({"ipc": "many"}, "`ipc`: input should be a valid integer"),
        ({"iterations": -3}, "`iterations`"),
        ({"image_lr": float("nan")}, "`image_lr`"),
        ({"image_momentum": 1.0}, "`image_momentum`"),
        ({"init": "zeros"}, "Unknown init 'zeros'. Known: noise, real"),
        ({"distance": "l3"}, "Unknown distance 'l3'"),
        ({"seed": -1}, "`seed`"),
        ({"test_fraction": 1.5}, "`test_fraction`"),
    ],
)
def test_bad_values_are_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve(**values)


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown option 'iteration'\. Did you mean 'iterations'"):
        resolve(iteration=3)
    with pytest.raises(UnknownNameError, match=r"Unknown method 'dsa2'\. Did you mean 'dsa'"):
        resolve(method="dsa2")
    with pytest.raises(UnknownNameError, match="Did you mean 'convnet'"):
        resolve(arch="conv-net")
    with pytest.raises(UnknownNameError, match="augmentation"):
        resolve(strategy="shear")


def test_a_strategy_is_parsed_once() -> None:
    request = Request.parse({"dataset": "cifar10", "ipc": 10, "strategy": "Rotate, crop"})
    assert isinstance(request.strategy, Strategy)
    recipe = request.resolve("cifar10", "0" * 64, (3, 32, 32), mirrored=True, precision="float32")
    assert recipe.strategy is request.strategy
    assert recipe.to_dict()["strategy"] == ["crop", "rotate"]
    assert str(Recipe.from_dict(recipe.to_dict()).strategy) == "crop_rotate"
    assert str(resolve(method="dc").strategy) == "none"
    with pytest.raises(UsageError, match="`strategy`: input should be a valid string, not 3"):
        resolve(strategy=3)


def test_recipes_from_outside_are_checked() -> None:
    good = resolve().to_dict()
    for change in ({"ipc": "x"}, {"unknown": 1}, {"network": {"arch": "x"}}, {"strategy": 3}):
        with pytest.raises(DsactlError):
            Recipe.from_dict({**good, **change})
