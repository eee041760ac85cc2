"""Reading torch.save files: the layouts in use, and their conversion to sets."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pt_samples import CLASSES, FORMATS, IMAGES, LABELS, SHAPE, authors, save

from dsactl.errors import DataError, UsageError
from dsactl.synthetic.importing.images import decode_tiles, to_floats, to_images
from dsactl.synthetic.importing.labels import to_labels
from dsactl.synthetic.importing.layouts import (
    Experiment,
    FileName,
    experiments,
    lone_labels,
    parse_file_name,
    sorted_labels,
)
from dsactl.synthetic.importing.pickle_reader import Unread
from dsactl.synthetic.importing.torch_files import load


def read(path: Path) -> list[Experiment]:
    return experiments(load(path), str(path))


@FORMATS
def test_the_authors_files(tmp_path: Path, new: bool) -> None:
    found = read(save(authors(), tmp_path / "f.pt", new))
    assert len(found) == 2
    for index, each in enumerate(found):
        assert torch.equal(each.images, IMAGES + index)
        assert each.labels is not None
        assert torch.equal(each.labels, LABELS)


def test_neither_torch_nor_pickle_nor_numpy_is_asked_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(authors(), tmp_path / "f.pt")
    for module, name in (("torch", "load"), ("pickle", "load"), ("pickle", "loads"), ("pickle", "Unpickler")):
        monkeypatch.setattr(f"{module}.{name}", None)
    content = load(path)
    assert type(content["accs_all_exps"]["ConvNet"][0]) is Unread
    assert torch.equal(content["data"][0][0], IMAGES)


@FORMATS
@pytest.mark.parametrize(
    "content",
    [
        [IMAGES, LABELS],
        (IMAGES, LABELS),
        {"images": IMAGES, "labels": LABELS},
        {"data": IMAGES, "targets": LABELS, "epoch": 3},
        {"data": [[IMAGES, LABELS]]},
        [[IMAGES, LABELS]],
        [torch.nn.Parameter(IMAGES), LABELS],
        [IMAGES.transpose(2, 3).contiguous().transpose(2, 3), LABELS],
        OrderedDict(images=IMAGES, labels=LABELS),
        [IMAGES.numpy(), LABELS.numpy()],
        {"images": np.asfortranarray(IMAGES.numpy()), "labels": LABELS.numpy().astype(">i8")},
        [IMAGES, LABELS.tolist()],
        {"image_syn": list(IMAGES), "label_syn": LABELS},
        list(zip(IMAGES, LABELS.tolist(), strict=True)),
    ],
)
def test_layouts(tmp_path: Path, content: Any, new: bool) -> None:
    (found,) = read(save(content, tmp_path / "f.pt", new))
    assert torch.equal(found.images, IMAGES)
    assert found.labels is not None
    assert torch.equal(found.labels, LABELS)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_that_torch_writes(tmp_path: Path, protocol: int) -> None:
    for content in (authors(), [IMAGES.numpy() if protocol < 5 else IMAGES, LABELS]):
        torch.save(content, tmp_path / "f.pt", pickle_protocol=protocol)
        found = read(tmp_path / "f.pt")[0]
        assert torch.equal(found.images, IMAGES)
        assert found.labels is not None
        assert torch.equal(found.labels, LABELS)


@FORMATS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.bool])
def test_every_type_of_numbers_is_read(tmp_path: Path, dtype: torch.dtype, new: bool) -> None:
    images = (IMAGES * 3).to(dtype)
    assert torch.equal(load(save(images, tmp_path / "f.pt", new)), images)


def test_labels_in_a_file_of_their_own(tmp_path: Path) -> None:
    for images in (IMAGES, {"images": IMAGES}):
        (found,) = read(save(images, tmp_path / "i.pt"))
        assert torch.equal(found.images, IMAGES)
        assert found.labels is None
    for content in (LABELS, LABELS.numpy(), LABELS.tolist(), {"labels": LABELS}):
        assert torch.equal(lone_labels(load(save(content, tmp_path / "l.pt")), "l.pt"), LABELS)
    with pytest.raises(DataError, match=r"l\.pt has a dict of state; expected labels"):
        lone_labels({"state": 3}, "l.pt")
    assert sorted_labels(4, 2, "f").tolist() == [0, 0, 1, 1]
    with pytest.raises(DataError, match=r"4 images without labels, for 3 classes.*as `labels`"):
        sorted_labels(4, 3, "f")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {}, "epoch": 3}, "has a dict of state, epoch"),
        ({}, "a dict of nothing"),
        ([IMAGES, LABELS, 0.1], r"a list of 3 \(Tensor, Tensor, float\)"),
        ([], r"a list of 0"),
        ("images", "has a str"),
        ({"data": [[IMAGES, LABELS], 3]}, "a dict of data"),
        ({"images": 3, "labels": LABELS}, "a dict of images, labels"),
        ([(IMAGES[0], 2**80), (IMAGES[1], 0)], r"a list of 2 \(tuple, tuple\)"),
        (torch.nn.Linear(2, 2).state_dict(), "a dict of weight, bias; expected images"),
        (torch.nn.Sequential(torch.nn.Linear(2, 2)).state_dict(), "the parameters of a network"),
        ({"epoch": 3, "state_dict": {}, "best_acc": 0.5}, "a checkpoint of a network or run"),
        ({"model": {"a": IMAGES}, "optimizer": {}}, "a checkpoint of a network or run"),
        (torch.optim.SGD([IMAGES.clone()], lr=0.1).state_dict(), "the state of an optimiser"),
    ],
)
def test_other_layouts_are_described(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(save(content, tmp_path / "f.pt"))


def test_a_whole_network_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a whole network: it would load 'torch\.nn\."):
        read(save(torch.nn.Sequential(torch.nn.Linear(2, 2)), tmp_path / "f.pt"))


ONE_HOT = torch.tensor([[1, 0], [1, 0], [0, 1], [0, 1]])


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS.byte(),
        LABELS.float(),
        LABELS.half(),
        LABELS.bool(),
        LABELS[:, None],
        LABELS[:, None].float(),
        ONE_HOT,
        ONE_HOT.float(),
        ONE_HOT.bool(),
    ],
)
def test_classes_are_recognised(labels: torch.Tensor) -> None:
    classes, soft = to_labels(labels, 4, CLASSES, "f")
    assert soft is None
    assert classes.dtype == torch.int64
    assert torch.equal(classes, LABELS)


SOFT = torch.tensor([[0.75, 0.25], [1.0, 0.0], [0.25, 0.75], [0.125, 0.875]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_distributions_are_soft_labels(dtype: torch.dtype) -> None:
    classes, soft = to_labels(SOFT.to(dtype), 4, CLASSES, "f")
    assert torch.equal(classes, LABELS)
    assert soft is not None
    assert torch.equal(soft, SOFT)


def test_distributions_of_16_bits_are_made_to_sum_to_one() -> None:
    rough = torch.softmax(torch.randn(50, 100, generator=torch.Generator().manual_seed(0)), 1).bfloat16()
    assert (rough.double().sum(1) - 1).abs().max() > 1e-4
    _, soft = to_labels(rough, 50, 100, "f")
    assert soft is not None
    assert soft.dtype == torch.float32
    assert (soft.double().sum(1) - 1).abs().max() < 1e-6


def test_logits_are_softened_on_request_only() -> None:
    logits = SOFT.clamp(min=1e-6).log() + 3
    with pytest.raises(DataError, match=r"neither classes nor distributions: the rows sum to .*Add `logits=True` if"):
        to_labels(logits, 4, CLASSES, "f")
    classes, soft = to_labels(logits, 4, CLASSES, "f", logits=True)
    assert torch.equal(classes, LABELS)
    assert soft is not None
    torch.testing.assert_close(soft, SOFT, atol=1e-5, rtol=0)
    for labels, what in ((SOFT, "distributions already"), (LABELS, "class numbers, not logits")):
        with pytest.raises(UsageError, match=what):
            to_labels(labels, 4, CLASSES, "f", logits=True)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.rand(4, 3), "3 numbers per image, and the dataset has 2 classes.*as `dataset`"),
        (torch.rand(2, 4), "4 images and 2 labels"),
        (LABELS + 0.5, "labels are fractions, such as 0.5"),
        (torch.tensor(1), "labels are one number, and should be N class numbers"),
        (LABELS.view(2, 2, 1), r"labels are 2×2×1.*labels\.flatten"),
        (LABELS[:3], "4 images and 3 labels"),
        (LABELS + 1, r"labels 1 … 2, for the classes 0 … 1.*counted from 1\? Save labels - 1"),
        (LABELS - 1, "labels -1 … 0.*of another dataset"),
        (LABELS * 7, "labels 0 … 7, for the classes 0 … 1.*of another dataset"),
        (LABELS / 0, "some labels are not finite"),
        (torch.ones(4, 2), "neither classes nor distributions: the rows sum to 2 … 2"),
        (SOFT * 0.9, "neither classes nor distributions"),
    ],
)
def test_what_is_no_label(labels: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_labels(labels, 4, CLASSES, "f")


RGB = torch.rand(4, 3, 5, 2, generator=torch.Generator().manual_seed(1))


def test_channels_may_be_last() -> None:
    for images in (RGB, RGB.permute(0, 2, 3, 1).contiguous()):
        assert torch.equal(to_images(images, (3, 5, 2), "f"), RGB)
    for images in (IMAGES, IMAGES.permute(0, 2, 3, 1), IMAGES.squeeze(1)):
        assert torch.equal(to_images(images, SHAPE, "f"), IMAGES)


def test_a_shape_that_fits_both_is_asked_about() -> None:
    images = torch.rand(2, 3, 3, 3)
    with pytest.raises(UsageError, match=r"channels first or last.*`channels=.first.`.*`channels=.last.`"):
        to_images(images, (3, 3, 3), "f")
    assert to_images(images, (3, 3, 3), "f", "first") is images
    assert torch.equal(to_images(images, (3, 3, 3), "f", "last"), images.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0, 0], "images are 3×2, and should be N×C×H×W"),
        (IMAGES[:0], "images are 0×1×3×2"),
        (torch.tensor(1.0), "images are one number"),
        (IMAGES.flatten(1), r"images are 4×6, and should be N×C×H×W.*images\.reshape\(-1, 1, 3, 2\)"),
        (IMAGES.repeat(1, 3, 1, 1), "images are 4×3×3×2, those of the dataset 1×3×2.*as `dataset`"),
    ],
)
def test_what_is_no_image(images: torch.Tensor, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_images(images, SHAPE, "f")


def test_levels_of_8_bits_are_pixels() -> None:
    levels = torch.tensor([[0, 51], [255, 2]])
    for dtype in (torch.uint8, torch.int64, torch.float32, torch.float64):
        floats, found = to_floats(levels.to(dtype), "f")
        assert found
        assert torch.equal(floats, levels / 255)
    assert to_floats(torch.tensor([0.0, 1.0]), "f")[1] is False  # pixels of 0 … 1, black and white
    assert to_floats(torch.tensor([0.5, 254.5]), "f")[1] is False
    for images, message in (
        (levels * 2, "whole numbers of 0 … 510, which are not 8-bit pixels"),
        (levels - 1, "whole numbers of -1 … 254"),
        (levels / 0, "not finite"),
        (levels.double() * 1e300, "not finite"),
    ):
        with pytest.raises(DataError, match=message):
            to_floats(images, "f")


@pytest.mark.parametrize(("size", "factor"), [((8, 8), 2), ((6, 9), 3), ((7, 5), 2), ((4, 4), 1)])
def test_tiles_are_decoded_as_idc_does(size: tuple[int, int], factor: int) -> None:
    """Compare with tiles that are cut out one by one, in the order of the images."""
    images = torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(2))
    found = decode_tiles(images, factor, "f").view(3, factor, factor, 2, *size)
    tall, wide = -(-size[0] // factor), -(-size[1] // factor)
    padded = torch.full((3, 2, tall * factor, wide * factor), 0.5)
    padded[:, :, : size[0], : size[1]] = images
    for row in range(factor):
        for column in range(factor):
            tile = padded[:, :, row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
            enlarged = torch.nn.Upsample(size=size, mode="bilinear")(tile)
            torch.testing.assert_close(found[:, row, column], enlarged)


def test_tiles_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="3×2 pixels have no 4×4 tiles"):
        decode_tiles(IMAGES, 4, "f")


def test_the_authors_file_names() -> None:
    assert parse_file_name("res_DSA_CIFAR10_ConvNet_10ipc.pt") == FileName("dsa", "cifar10", "convnet", 10)
    for name in (
        "res_DSA_CIFAR10_ConvNet_10ipc.pth",
        "data.pt",
        "res_DSA_CIFAR10_ConvNet_ipc.pt",
        "res_A_B_C_1ipc.pt\n",
    ):
        assert parse_file_name(name) is None
