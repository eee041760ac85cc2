"""DM, IDC and DANCE against outputs of their authors' programs (tests/golden/README.md), in float64."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from reference import GOLDEN, golden_image, golden_parameters
from safetensors.torch import load_file
from torch import Tensor

from dsactl.augmentation.transforms import Color, Composition, Crop, Cutout, Flip, Omega
from dsactl.data.dataset import Dataset, ImageSet
from dsactl.engine.mode import PLAIN
from dsactl.methods.dance.calibration import Calibration
from dsactl.methods.dance.networks import blend
from dsactl.methods.distribution_matching.step import FeatureMatching, feature_function
from dsactl.methods.gradient_matching.inner_step import InnerStep
from dsactl.networks.build import build, feature_extractor, structure
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.recipe import Recipe, Request

KNOWN: dict[str, dict[str, Any]] = json.loads((GOLDEN / "later_methods.json").read_text())
GRADIENTS = load_file(GOLDEN / "later_methods.safetensors")
CLASSES, REAL, STORED, CHANNELS, SIDE = 3, 6, 2, 3, 16
SPEC = NetworkSpec(width=8, depth=2)
STD = torch.tensor((0.2, 0.25, 0.3), dtype=torch.float64).view(-1, 1, 1)


class Doubles(Dataset):
    """Images in float64."""

    def normalise(self, pixels_NCHW: Tensor) -> Tensor:
        mean = torch.tensor(self.mean, dtype=torch.float64).view(-1, 1, 1)
        return (pixels_NCHW.double() / 255 - mean) / STD


def real() -> Dataset:
    pixels = ((golden_image(CLASSES * REAL, CHANNELS, SIDE, SIDE, 1.0) + 2) / 4 * 255).round().byte()
    split = ImageSet.from_tensors(pixels, torch.arange(CLASSES).repeat_interleave(REAL), CLASSES)
    return Doubles("golden", ("a", "b", "c"), (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), False, split, split)


def stored(dataset: Dataset) -> Tensor:
    """The synthetic images as they are stored, K×I×C×H×W."""
    pixels = (golden_image(CLASSES * STORED, CHANNELS, SIDE, SIDE, 3.0) + 2) / 4
    return dataset.normalise(255 * pixels).view(CLASSES, STORED, CHANNELS, SIDE, SIDE)


def recipe(method: str, dataset: Dataset, **options: Any) -> Recipe:
    request = Request.parse({"dataset": "golden", "ipc": STORED, "method": method, "iterations": 1, **options})
    shape = (CHANNELS, SIDE, SIDE)
    found = request.resolve("golden", dataset.train.checksum(), shape, mirrored=False, precision="float32")
    return replace(found, network=SPEC.resolve(CHANNELS, (SIDE, SIDE)))


def parameters(shift: float = 0.0) -> dict[str, Tensor]:
    """The network's parameters, or those of the trained one in the outputs."""
    values = golden_parameters(build(SPEC, CHANNELS, (SIDE, SIDE), CLASSES))
    for name, value in values.items() if shift else ():
        moved = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * shift)
        values[name] = (value + 0.05 * moved.view(value.shape)).float().double()
    return values


def omega_of(known: dict[str, Any]) -> Omega:
    """The transformation that the program drew: one, or several in turn."""

    def one(*names: str) -> tuple[Tensor, ...]:
        return tuple(torch.tensor([known[name]]) for name in names)

    kinds = {
        "flip": lambda: Flip(*one("mirror")),
        "color": lambda: Color(*one("brightness", "saturation", "contrast")),
        "crop": lambda: Crop(*one("rows", "columns")),
        "cutout": lambda: Cutout(*one("centre_row", "centre_column")),
    }
    return kinds[known["kind"]]() if "kind" in known else Composition(tuple(make() for make in kinds.values()))


def drawn(known: dict[str, Any]) -> Callable[[torch.Generator], Omega]:
    """A function that gives the transformation of one class after the other."""
    omegas = iter(known["omegas"])
    return lambda _: omega_of(next(omegas))


def check(known: str, found: tuple[Tensor, Tensor]) -> None:
    """Compare losses and gradients of all classes with the program's; those of pixels are turned into ours."""
    distance_K, gradient_KICHW = found
    assert distance_K.dtype == torch.float64
    wanted = GRADIENTS[f"grad-{known}"].double().view(CLASSES, STORED, CHANNELS, SIDE, SIDE)
    wanted = wanted if known == "dm" else wanted * STD
    torch.testing.assert_close(distance_K.tolist(), KNOWN[known]["losses"], rtol=1e-6, atol=0)
    assert (gradient_KICHW - wanted).norm() / wanted.norm() < 1e-6


def matching(method: str, known: str, **options: Any) -> FeatureMatching:
    dataset = real()
    extractor = feature_extractor(structure(SPEC, CHANNELS, (SIDE, SIDE), CLASSES)).train()
    own = recipe(method, dataset, **options)
    return FeatureMatching(dataset, own, drawn(KNOWN[known]), feature_function(extractor), batch_real=REAL)


def test_a_step_of_dm() -> None:
    check("dm", matching("dm", "dm")(parameters(), {}, stored(real()), 0))


@pytest.mark.parametrize("distance", ["mse", "l1"])
def test_matched_gradients_of_idc(distance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With formation 2: 8 images of each class, of 2 stored ones."""
    dataset, name = real(), f"idc-{distance}"

    def draw_class(*arguments: Any) -> tuple[Tensor, tuple[Omega, Omega]]:
        label = arguments[-1]
        omega = omega_of(KNOWN[name]["omegas"][label])
        return torch.arange(REAL) + REAL * label, (omega, omega)

    monkeypatch.setattr("dsactl.methods.gradient_matching.inner_step.draw_class", draw_class)
    own = recipe("idc", dataset, distance=distance, formation=2)
    step = InnerStep(dataset, own, structure(SPEC, CHANNELS, (SIDE, SIDE), CLASSES), PLAIN)
    check(name, step(parameters(), {}, stored(dataset), 0, 0))


def test_matched_features_of_dance_on_a_network_between_initial_and_trained() -> None:
    between, _ = blend((parameters(), {}), (parameters(1.7), {}), KNOWN["dance-inner"]["blend"])
    check("dance-inner", matching("dance", "dance-inner", formation=2)(between, {}, stored(real()), 0))


def test_calibration_of_dance() -> None:
    dataset, network = real(), structure(SPEC, CHANNELS, (SIDE, SIDE), CLASSES).eval()
    own = recipe("dance", dataset, formation=2)
    calibrate = Calibration(own, network, drawn(KNOWN["dance-inter"]), batch_synthetic=200)
    check("dance-inter", calibrate(parameters(1.7), {}, stored(dataset), 0))
