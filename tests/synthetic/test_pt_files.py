"""Reading torch.save files: the layouts in use, and their conversion to sets."""

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from pt_samples import CLASSES, FORMATS, IMAGES, LABELS, SHAPE, authors, save

from dsactl.errors import DataError, UsageError
from dsactl.synthetic.importing.layouts import FileName, parse_file_name, read, to_experiment
from dsactl.synthetic.importing.torch_files import load


@FORMATS
def test_the_authors_files(tmp_path: Path, new: bool) -> None:
    pairs = read(save(authors(), tmp_path / "f.pt", new), CLASSES)
    assert len(pairs) == 2
    for index, (images, labels) in enumerate(pairs):
        assert torch.equal(images, IMAGES + index)
        assert torch.equal(labels, LABELS)


def test_nothing_of_numpy_is_called(tmp_path: Path) -> None:
    path, allowed = save(authors(), tmp_path / "f.pt"), set(torch.serialization.get_safe_globals())
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # fails because of the accuracies in it
    number = load(path)["accs_all_exps"]["ConvNet"][0]
    assert type(number).__module__ == "dsactl.synthetic.importing.torch_files"
    assert vars(number) == {}
    assert set(torch.serialization.get_safe_globals()) == allowed


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
        IMAGES,
    ],
)
def test_layouts(tmp_path: Path, content: Any, new: bool) -> None:
    ((images, labels),) = read(save(content, tmp_path / "f.pt", new), CLASSES)
    assert torch.equal(images, IMAGES)
    assert torch.equal(labels, LABELS)


def test_labels_in_a_file_of_their_own(tmp_path: Path) -> None:
    images, labels = save(IMAGES, tmp_path / "i.pt"), save(LABELS.flip(0), tmp_path / "l.pt")
    ((_, found),) = read(images, CLASSES, labels)
    assert torch.equal(found, LABELS.flip(0))
    with pytest.raises(DataError, match=r"4 images without labels, for 3 classes.*as `labels`"):
        read(images, 3)
    with pytest.raises(UsageError, match=r"labels of its own.*Leave `labels` out"):
        read(save([IMAGES, LABELS], tmp_path / "p.pt"), CLASSES, labels)


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
        (torch.tensor(3.0), "0 images without labels"),
    ],
)
def test_other_layouts_are_described(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(save(content, tmp_path / "f.pt"), CLASSES)


def test_experiments_are_sorted_by_class_and_of_float32() -> None:
    images = torch.arange(24.0, dtype=torch.float64).view(4, *SHAPE)
    found = to_experiment(images, torch.tensor([1, 0, 1, 0], dtype=torch.uint8), CLASSES, SHAPE, "f")
    assert found.labels_N.tolist() == [0, 0, 1, 1]
    assert found.labels_N.dtype == torch.int64
    assert torch.equal(found.images_NCHW, images[[1, 3, 0, 2]].float())
    assert found.images_NCHW.is_contiguous()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (IMAGES[0], LABELS, "images are 1×3×2, and should be N×C×H×W"),
        (IMAGES[:0], LABELS[:0], "images are 0×1×3×2"),
        ([IMAGES], LABELS, "images are list"),
        ((IMAGES * 255).byte(), LABELS, r"images are uint8.*images\.float\(\) / 255"),
        (IMAGES.repeat(1, 3, 1, 1), LABELS, "images are 4×3×3×2, those of the dataset 1×3×2.*as `dataset`"),
        (IMAGES, torch.rand(4, 2), "labels are 4×2 float32.*Soft labels are not supported"),
        (IMAGES, LABELS.float(), r"labels are 4 float32.*labels\.long\(\)"),
        (IMAGES, torch.tensor(1), "labels are one number int64"),
        (IMAGES, [0, 0, 1, 1], "labels are list"),
        (IMAGES, LABELS[:3], "4 images and 3 labels"),
        (IMAGES, LABELS + 1, "labels 1 … 2, for the classes 0 … 1"),
        (IMAGES, LABELS - 1, "labels -1 … 0"),
        (IMAGES / 0, LABELS, "not finite"),
        (IMAGES.double() * 1e300, LABELS, "not finite"),
        (IMAGES * float("nan"), LABELS, "not finite"),
    ],
)
def test_what_makes_no_set(images: Any, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        to_experiment(images, labels, CLASSES, SHAPE, "f")


def test_the_authors_file_names() -> None:
    assert parse_file_name("res_DSA_CIFAR10_ConvNet_10ipc.pt") == FileName("dsa", "cifar10", "convnet", 10)
    for name in (
        "res_DSA_CIFAR10_ConvNet_10ipc.pth",
        "data.pt",
        "res_DSA_CIFAR10_ConvNet_ipc.pt",
        "res_A_B_C_1ipc.pt\n",
    ):
        assert parse_file_name(name) is None
