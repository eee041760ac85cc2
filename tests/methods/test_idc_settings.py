"""The defaults of IDC, and what it says of its runs."""

from collections.abc import Callable

import pytest

import dsactl
from dsactl.methods.gradient_matching.idc import IdcMatching
from dsactl.recipes.recipe import Request
from dsactl.runs.request_check import check_request


def settings_of(dataset: str, **values: object) -> IdcMatching:
    settings = Request.parse({"dataset": dataset, "method": "idc", **values}).method_settings()
    assert isinstance(settings, IdcMatching)
    return settings


@pytest.mark.parametrize(
    ("dataset", "ipc", "formation", "wanted"),
    [
        ("cifar10", 1, 1, (0.001, "mse", 2000, 0.5)),
        ("cifar10@validation", 10, 2, (0.01, "mse", 2000, 0.5)),
        ("cifar100", 50, 1, (0.05, "mse", 2000, 0.5)),
        ("svhn", 10, 1, (0.01, "mse", 500, 0.5)),
        ("mnist", 10, 1, (2e-4, "l1", 500, 0.5)),
        ("mnist@validation", 1, 2, (2e-5, "l1", 500, 0.0)),
        ("fashionmnist", 10, 2, (2e-4 * 0.765625, "l1", 500, 0.5)),
    ],
)
def test_defaults_are_the_authors(dataset: str, ipc: int, formation: int, wanted: tuple[object, ...]) -> None:
    settings = settings_of(dataset, ipc=ipc, formation=formation)
    assert settings.image_lr == pytest.approx(wanted[0], rel=1e-12)
    assert (settings.distance, settings.network_images, settings.cutmix) == wanted[1:]


def test_kinds_while_condensing_are_the_authors() -> None:
    def kinds(dataset: str, **values: object) -> str:
        return settings_of(dataset, ipc=1, **values).matching_strategy

    assert kinds("cifar10", formation=2) == kinds("mnist") == "color_crop_cutout"
    assert kinds("mnist", formation=2) == "color_crop"
    assert kinds("mnist", matching_strategy="crop, color") == "color_crop"
    with pytest.raises(dsactl.Error, match="'blur'"):
        kinds("mnist", matching_strategy="blur")


def test_a_network_without_convolutions_matches_all_gradients() -> None:
    assert settings_of("digits", ipc=1, arch="mlp").match == "all"
    with pytest.raises(dsactl.Error, match="needs convolutions") as refused:
        dsactl.condense("digits", ipc=1, method="idc", arch="mlp", match="conv")
    assert 'match="all"' in refused.value.hint


def test_a_number_of_images_per_class_without_a_schedule_is_not_remarked_on(
    cli: Callable[..., tuple[int, str, str]],
) -> None:
    options = ("--ipc", "3", "--width", "8", "--dry-run")
    said = [cli("condense", "digits", "--method", method, *options)[2] for method in ("dsa", "idc")]
    assert ["no schedule" in each for each in said] == [True, False]


@pytest.mark.parametrize(
    ("dataset", "usual"), [("digits", 500), ("digits@classes0-4", 500), ("cifar10@validation", 2000)]
)
def test_a_number_of_real_images_without_use_is_refused(dataset: str, usual: int) -> None:
    how = {"dataset": dataset, "ipc": 1, "method": "idc", "network_data": "set"}
    check_request(Request.parse({**how, "network_images": usual}))
    with pytest.raises(dsactl.Error, match="`network_images` has no use with "):
        check_request(Request.parse({**how, "network_images": 7}))
    check_request(Request.parse({**how, "network_images": 7, "network_data": "real"}))
