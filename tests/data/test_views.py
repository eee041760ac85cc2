from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from reference import small_dataset, write_folder

import dsactl
from dsactl.data.catalogue import entry_of, is_mirrored, missing_files
from dsactl.data.dataset import channel_statistics
from dsactl.data.load import load_dataset
from dsactl.data.paths import is_folder
from dsactl.data.views import Classes, Shape, split_name, take, with_views
from dsactl.errors import UnknownNameError, UsageError
from dsactl.recipes.recipe import Request


def test_names_say_what_is_seen() -> None:
    views = (Shape(3, 32, 24), Classes(0, 4))
    assert with_views("mnist", *views) == "mnist@3x32x24@classes0-4"
    assert split_name("mnist@3x32x24@classes0-4") == ("mnist", views)
    assert split_name("mnist") == ("mnist", ())
    for wrong in (
        "mnist@",
        "mnist@32",
        "mnist@2x8x8",
        "mnist@3x2x8",
        "mnist@3x8x9999",
        "mnist@classes1",
        "mnist@3x³x8",
    ):
        with pytest.raises(UsageError):
            split_name(wrong)
    assert entry_of("mnist@3x32x32") is entry_of("mnist")
    assert not is_mirrored("mnist@3x32x32")
    assert missing_files("digits@3x32x32") == []
    assert not is_folder("digits@3x32x32")


def test_pictures_are_resized_as_pillow_does() -> None:
    small = small_dataset(channels=1, side=8)
    for side in (5, 8, 13):
        seen = take(small, (Shape(3, side, side),))
        assert seen.train.images_NCHW.shape[1:] == (3, side, side)
        for image, other in zip(small.train.images_NCHW[:5], seen.train.images_NCHW[:5], strict=True):
            pillow = Image.fromarray(image[0].numpy()).resize((side, side), Image.Resampling.BILINEAR)
            assert np.abs(other.numpy().astype(int) - np.asarray(pillow).astype(int)[None]).max() <= 1
        assert seen.train.labels_N.equal(small.train.labels_N)
        expected = small.mean * 3 if side == 8 else channel_statistics(seen.train.images_NCHW)[0]
        assert seen.mean == expected
    grey = take(small_dataset(channels=3), (Shape(1, 8, 8),))
    colours = small_dataset(channels=3).train.images_NCHW[0].float()
    luma = 0.299 * colours[0] + 0.587 * colours[1] + 0.114 * colours[2]
    assert (grey.train.images_NCHW[0, 0].float() - luma).abs().max() <= 0.5 + 1e-4
    assert take(small, (Shape(1, 8, 8),)).mean == small.mean


def test_some_classes_are_a_data_set_of_their_own() -> None:
    digits = load_dataset("digits")
    part = load_dataset("digits@classes3-5")
    assert (part.name, part.class_names) == ("digits@classes3-5", ("3", "4", "5"))
    assert part.train.counts == digits.train.counts[3:6]
    assert part.test.counts == digits.test.counts[3:6]
    inside = (digits.train.labels_N >= 3) & (digits.train.labels_N <= 5)
    assert torch.equal(part.train.images_NCHW, digits.train.images_NCHW[inside])
    assert torch.equal(part.train.labels_N, digits.train.labels_N[inside] - 3)
    assert (part.mean, part.mirrored) == (digits.mean, digits.mirrored)
    both = load_dataset("digits@3x16x16@classes0-1")
    assert both.train.images_NCHW.shape == (sum(digits.train.counts[:2]), 3, 16, 16)
    for wrong in ("digits@classes5-3", "digits@classes5-10"):
        with pytest.raises(UsageError, match="has the classes 0 … 9"):
            load_dataset(wrong)
    with pytest.raises(UnknownNameError):
        load_dataset("digts@classes0-1")


def test_a_validation_split_has_no_test_image() -> None:
    digits, seen = load_dataset("digits"), load_dataset("digits@validation")
    train = {row.numpy().tobytes() for row in digits.train.images_NCHW.flatten(1)}
    assert all(row.numpy().tobytes() in train for row in seen.test.images_NCHW.flatten(1))
    assert len(seen.train) + len(seen.test) == len(digits.train)
    assert seen.name == "digits@validation"
    both = load_dataset("digits@3x16x16@validation@classes2-4")
    assert both.train.counts == seen.train.counts[2:5]
    assert both.test.counts == seen.test.counts[2:5]
    known = {row.numpy().tobytes() for row in load_dataset("digits@3x16x16@classes2-4").train.images_NCHW.flatten(1)}
    assert all(row.numpy().tobytes() in known for row in both.test.images_NCHW.flatten(1))


def test_what_is_made_of_a_view_is_found_by_its_name(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    made = dsactl.condense("digits@3x16x16@classes0-2", ipc=1, iterations=1)
    assert made.reference == "digits-3x16x16-classes0-2-dsa-convnet-ipc1:1"
    assert made.images.shape == (3, 3, 16, 16)
    assert "flip" not in made.strategy
    result = dsactl.evaluate(made.reference, networks=1, epochs=1)
    assert result.test_images == sum(load_dataset("digits").test.counts[:3])
    assert result.paper is None
    write_folder(tmp_path / "photos", side=12)
    monkeypatch.chdir(tmp_path)
    folder = load_dataset("photos@3x8x8")
    assert (folder.name, folder.size, folder.channels) == ("photos@3x8x8", (8, 8), 3)
    assert load_dataset(f"{tmp_path}/photos@1x12x12").size == (12, 12)
    write_folder(tmp_path / "odd@name", side=12)
    assert load_dataset("odd@name").size == (12, 12), "a folder of just that name"
    assert load_dataset("odd@name@3x8x8").size == (8, 8), "and a view of it"
    write_folder(tmp_path / "odd@1x8x8", side=12)
    assert load_dataset("odd@1x8x8").size == (12, 12)
    assert load_dataset("odd@1x8x8@1x6x6").size == (6, 6)
    assert Request("mnist@3x32x32", 1).dataset == "mnist@3x32x32"


def test_what_is_said_of_a_folder_is_followed_by_what_is_seen_of_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", side=12)
    whole, seen = (load_dataset(f"{tmp_path}/photos{views}") for views in ("", "@classes0-1@validation"))
    counts = f"2 classes, {len(seen.train)} training and {len(seen.test)} test images"
    assert len(seen.train) < len(whole.train)
    assert seen.remark == f"{whole.remark} Viewed as photos@classes0-1@validation: {counts}."
    assert load_dataset("digits@classes1-2").remark == ""


def test_one_class_is_no_data_set() -> None:
    with pytest.raises(UsageError, match=r"digits@classes3-3: nothing can be learned from one class\. Take two"):
        load_dataset("digits@classes3-3")
