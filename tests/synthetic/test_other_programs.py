"""Sets as other programs save them, from the file to the store; and files that are none."""

import gzip
import io
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sessions import Told

import registry
from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.errors import DsactlError, UsageError
from dsactl.synthetic.importing.images import decode_tiles
from dsactl.synthetic.importing.sets import import_sets
from dsactl.synthetic.importing.source import Source
from dsactl.synthetic.importing.spaces import unwhiten
from dsactl.synthetic.protocols_of_sets import protocol_for
from dsactl.synthetic.synthetic_set import SyntheticSet, from_store
from registry.cost import Cost

Answer = tuple[int, str, str]
Read = Callable[..., tuple[SyntheticSet, list[str]]]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="module")
def pixels(digits: Dataset) -> torch.Tensor:
    """The first training image of each class, 0 … 1."""
    return digits.train.images_NCHW[list(digits.train.starts)].float() / 255


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Save content as a `.pt` file and import it; returns the set and the remarks."""

    def read(content: Any, name: str = "data.pt", **options: Any) -> tuple[SyntheticSet, list[str]]:
        torch.save(content, tmp_path / name)
        told, store = Told(), registry.Store()
        (stored,) = import_sets(tmp_path / name, Source(**{"dataset": "digits", **options}), store, told)
        return from_store(store, stored), told.remarks

    return read


CLASSES = torch.arange(10)


def test_every_layout_of_one_set_is_the_same_set(read: Read, pixels: torch.Tensor) -> None:
    right, said = read([pixels, CLASSES], space="pixels")
    assert said == []
    torch.testing.assert_close(right.pixels(), pixels)
    levels = (pixels * 255).round()
    for content, space in (
        ([pixels.permute(0, 2, 3, 1).contiguous(), CLASSES], "pixels"),
        ([pixels.squeeze(1), CLASSES], "pixels"),
        ([pixels.numpy(), CLASSES.numpy()], "pixels"),
        ([pixels, torch.eye(10)], "pixels"),
        ([pixels, CLASSES[:, None]], "pixels"),
        ([pixels, CLASSES.float()], "pixels"),
        ([pixels, CLASSES.tolist()], "pixels"),
        ([levels.byte(), CLASSES], None),
        ([levels, CLASSES], None),
        ([levels.byte().permute(0, 2, 3, 1), torch.eye(10)], "pixels"),
        (pixels, "pixels"),
        (right.images, None),
    ):
        assert read(content, space=space)[0].digest == right.digest


def test_soft_labels_are_trained_on(read: Read, pixels: torch.Tensor, tmp_path: Path) -> None:
    """DATM: images in one file, distributions in another."""
    soft = torch.softmax(8 * torch.eye(10) + torch.randn(10, 10, generator=torch.Generator().manual_seed(0)), 1)
    torch.save(soft, tmp_path / "labels_best.pt")
    shuffled = torch.arange(9, -1, -1)
    found, _ = read(pixels, "images_best.pt", labels=tmp_path / "labels_best.pt", space="pixels")
    assert torch.equal(found.targets, soft)
    images, targets = next(found.batches(batch_size=4))
    assert images.shape == (4, 1, 8, 8)
    assert targets.shape == (4, 10)
    again, _ = read([pixels[shuffled], soft[shuffled]], space="pixels")
    assert again.digest == found.digest
    logits, _ = read([pixels, soft.log() + 3], space="pixels", logits=True)
    torch.testing.assert_close(logits.targets, soft)


def test_labels_may_be_of_numpy(read: Read, pixels: torch.Tensor, tmp_path: Path) -> None:
    np.save(tmp_path / "labels.npy", CLASSES.numpy())
    found, _ = read(pixels, labels=tmp_path / "labels.npy", space="pixels")
    np.save(tmp_path / "images.npy", pixels.numpy())
    np.savez(tmp_path / "set.npz", x=pixels.numpy(), y=CLASSES.numpy())
    np.savez(tmp_path / "plain.npz", pixels.numpy().astype(">f4"), np.asfortranarray(np.eye(10)))
    save_file({"images": pixels, "labels": CLASSES}, tmp_path / "set.safetensors")
    save_file({"images": pixels, "labels": CLASSES}, tmp_path / "set.bin")
    store = registry.Store()
    for name, labels in (
        ("images.npy", tmp_path / "labels.npy"),
        ("set.npz", None),
        ("plain.npz", None),
        ("set.safetensors", None),
        ("set.bin", None),
    ):
        (stored,) = import_sets(tmp_path / name, Source("digits", space="pixels", labels=labels), store)
        assert stored.digest == found.digest, name


def test_nothing_is_stored_if_one_experiment_is_wrong(read: Read) -> None:
    images = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DsactlError, match="experiment 1: labels 1 … 10"):
        read({"data": [[images, CLASSES], [images, CLASSES + 1]]})
    assert registry.Store().sets() == []


def test_labels_that_are_guessed_are_said(read: Read, pixels: torch.Tensor) -> None:
    made, said = read(torch.cat([pixels, pixels]), space="pixels")
    assert made.labels[:4].tolist() == [0, 0, 1, 1]
    assert "has no labels: its images are taken as sorted by class, 2 of each" in said[0]


def test_a_remark_is_made_once(tmp_path: Path) -> None:
    images = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    told = Told()
    torch.save({"data": [[images + index, CLASSES] for index in range(3)]}, tmp_path / "data.pt")
    import_sets(tmp_path / "data.pt", Source("digits", method="idc"), registry.Store(), told)
    assert sum("factor" in text for text in told.remarks) == 1
    assert [text[:13] for text in told.remarks if "Neighbouring" in text] == [
        f"Experiment {index}:" for index in range(3)
    ]


def test_values_scaled_by_one_half_are_noticed(read: Read, pixels: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"all values lie in -1 … 1.*images / 2 \+ 0\.5"):
        read([2 * pixels - 1, CLASSES])
    assert len(read([2 * pixels - 1, CLASSES], space="normalised")[0]) == 10
    assert "save (images + 1) / 2" in read([2 * pixels - 1, CLASSES], space="pixels")[1][0]


def test_a_folder_with_a_file_of_a_set_names_it(tmp_path: Path) -> None:
    for name, message in (("empty", "contains no pictures"), ("run/log", "does not have the name of a class")):
        (tmp_path / name).mkdir(parents=True)
        folder = tmp_path / name.partition("/")[0]
        torch.save(CLASSES, folder / "data.pt")
        with pytest.raises(registry.RegistryError, match=rf"{message}.*or a file of it: data\.pt"):
            import_sets(folder, Source("digits"), registry.Store())


def test_folders_may_have_jpegs(pixels: torch.Tensor, tmp_path: Path) -> None:
    """RDED and SRe2L."""
    for label, image in enumerate(pixels):
        (tmp_path / "set" / str(label)).mkdir(parents=True)
        levels = (image[0] * 255).round().byte().numpy()
        Image.fromarray(levels).save(tmp_path / "set" / str(label) / "a.jpg", quality=95)
    store = registry.Store()
    (stored,) = import_sets(tmp_path / "set", Source("digits"), store)
    assert (from_store(store, stored).pixels() - pixels).abs().max() < 0.15


def test_pixels_that_were_not_clamped_are_pixels(read: Read, pixels: torch.Tensor) -> None:
    """IDC: −0.03 … 1.03."""
    content = [pixels * 1.06 - 0.03, CLASSES]
    with pytest.raises(UsageError, match=r"deviation of 0\.\d+, nearer to that of .* pixels.*Add `space=.pixels.`"):
        read(content)
    found, said = read(content, space="pixels")
    torch.testing.assert_close(found.pixels(), content[0])
    assert said == []


def test_values_of_no_space_are_refused(read: Read, pixels: torch.Tensor) -> None:
    content = [pixels * 254.5, CLASSES]
    for space in (None, "normalised"):
        with pytest.raises(UsageError, match=r"values of 0 … 25\d are neither normalised nor pixels.*images / 255"):
            read(content, space=space)
    with pytest.raises(UsageError, match="are not pixels of 0 … 1"):
        read(content, space="pixels")
    with pytest.raises(UsageError, match=r"the images are 8-bit pixels.*Leave `space` out"):
        read([(pixels * 255).byte(), CLASSES], space="normalised")


def test_statistics_of_another_space_are_said(read: Read, pixels: torch.Tensor, digits: Dataset) -> None:
    normalised = digits.normalise((pixels * 255).round().byte())
    assert read([normalised, CLASSES])[1] == []
    for content, space in (([normalised, CLASSES], "pixels"), ([pixels, CLASSES], "normalised")):
        (text,) = read(content, space=space)[1]
        assert text.startswith(f"Taken as {space}, the images have, after normalisation, mean ")
        assert "Is `space` right?" in text


def whiten(pixels: torch.Tensor, digits: Dataset) -> torch.Tensor:
    """Whiten pixels by the training images as MTT does, by a singular value decomposition."""
    train = digits.train.images_NCHW.flatten(1).double() / 255
    mean = train.mean(0)
    vectors, values, _ = torch.linalg.svd(torch.cov(train.T))
    return ((pixels.flatten(1) - mean) @ (vectors / (values + 0.1).sqrt()) @ vectors.T).view_as(pixels).float()


def test_whitening_is_said_and_undone(read: Read, pixels: torch.Tensor, digits: Dataset) -> None:
    white = whiten(pixels, digits)
    torch.testing.assert_close(unwhiten(white, digits), pixels, atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match=r"Add .*`space=.zca.`"):
        read([white, CLASSES])
    for space in ("pixels", "normalised"):
        said = read([white, CLASSES], space=space)[1]
        assert said[-1].startswith("Neighbouring pixels are correlated")
        assert '`space="zca"`' in said[-1]
    found, said = read([white, CLASSES], space="zca")
    torch.testing.assert_close(found.pixels(), pixels, atol=1e-4, rtol=0)
    assert said == []


def test_images_too_large_to_undo_their_whitening(digits: Dataset) -> None:
    with pytest.raises(UsageError, match=r"12,288 numbers are too large .*inverse_transform"):
        unwhiten(torch.zeros(1, 3, 64, 64), digits)


def test_tiles_become_images(read: Read, pixels: torch.Tensor, digits: Dataset) -> None:
    """IDC at factor 2: four halved digits of one class in each image."""
    starts = torch.tensor(digits.train.starts)
    four = [digits.train.images_NCHW[starts + index].float() / 255 for index in range(4)]
    small = [torch.nn.functional.avg_pool2d(each, 2) for each in four]
    tiled = torch.cat([torch.cat(small[:2], 3), torch.cat(small[2:], 3)], 2)
    found, said = read([tiled, CLASSES], space="pixels", method="idc", formation=2)
    assert said == ["Each image holds 4 tiles, which are enlarged to full images for training: 40 in all."]
    assert found.labels.tolist() == CLASSES.repeat_interleave(4).tolist()
    assert (found.recipe.ipc, found.recipe.formation) == (1, 2)
    assert str(found.reference) == "digits-idc-ipc1-formation2:1"
    torch.testing.assert_close(found.pixels(), decode_tiles(tiled, 2, "tiles"))
    expected = torch.nn.Upsample(size=(8, 8), mode="bilinear")(small[2][3:4])
    torch.testing.assert_close(found.pixels()[3 * 4 + 2 : 3 * 4 + 3], expected)
    store = registry.Store()
    stored = store.find(registry.parse_reference(found.reference))
    assert stored.manifest.provenance["formation"] == 2
    assert protocol_for(replace(found.recipe, dataset="mnist")).cutmix == 0.0, "as its authors leave it out there"
    cost = Cost.of_manifest(stored.manifest)
    assert (cost.numbers, cost.decoded_images) == (10 * 64, 40)
    by_file, _ = read({"images": tiled, "labels": CLASSES, "factor": 2}, space="pixels", method="idc")
    assert by_file.digest == found.digest
    soft, _ = read([tiled, torch.softmax(9 * torch.eye(10), 1)], space="pixels", formation=2)
    assert soft.targets.shape == (40, 10)
    whole, said = read([tiled, CLASSES], space="pixels", method="idc")
    assert len(whole) == 10
    assert said == ["If IDC's factor was not 1, each image holds several smaller ones: give `formation=2`."]
    assert read([pixels, CLASSES], space="pixels", method="idc", formation=1)[1] == []


def test_tiles_that_formation_cannot_store_are_decoded(read: Read, pixels: torch.Tensor, digits: Dataset) -> None:
    """Tiles that do not divide the images; and whitened ones, as whitening is undone on full images."""
    found, said = read([pixels, CLASSES], space="pixels", formation=3)
    assert said[0] == "Each image was decoded into its 9 tiles, enlarged to full images: 90 in all."
    assert (found.recipe.ipc, found.recipe.formation, len(found.images)) == (9, 1, 90)
    torch.testing.assert_close(found.pixels(), decode_tiles(pixels, 3, "tiles"))
    white = whiten(pixels, digits)
    found, _ = read([white, CLASSES], space="zca", formation=2)
    assert found.recipe.formation == 1
    torch.testing.assert_close(found.pixels(), unwhiten(decode_tiles(white, 2, "tiles"), digits))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formation": 0}, "`formation` must be from 1 to 8, not 0"),
        ({"formation": 9}, "`formation` must be from 1 to 8, not 9"),
        ({"channels": "middle"}, "Unknown channels 'middle'"),
        ({"logits": True}, "class numbers, not logits"),
        ({"channels": "last"}, "those of the dataset 1×8×8"),
    ],
)
def test_bad_options(read: Read, options: dict[str, Any], message: str) -> None:
    with pytest.raises(DsactlError, match=message):
        read([torch.randn(10, 1, 8, 8), CLASSES], **options)


def test_classes_without_images_are_said(read: Read) -> None:
    _, said = read([torch.randn(10, 1, 8, 8), torch.zeros(10).long()])
    assert "Only 1 of the 10 classes of digits has images." in said
    _, said = read([torch.randn(10, 1, 8, 8), torch.arange(10) % 2])
    assert "Only 2 of the 10 classes of digits have images." in said


def test_an_image_is_of_all_its_most_likely_classes(read: Read) -> None:
    _, said = read([torch.randn(10, 1, 8, 8), torch.full((10, 10), 0.1)])
    assert not any("classes of digits" in each for each in said)
    halves = torch.eye(10)[:2].repeat(5, 1) / 2
    halves[:, 2] = 0.5
    _, said = read([torch.randn(10, 1, 8, 8), halves])
    assert "Only 3 of the 10 classes of digits have images." in said


def test_labels_of_a_folder_are_named(read: Read, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (12, 6, 5, 5, 3), np.uint8)
    for label, images in enumerate(levels):
        (tmp_path / "things" / f"c{label}").mkdir(parents=True)
        for index, each in enumerate(images):
            Image.fromarray(each).save(tmp_path / "things" / f"c{label}" / f"{index}.png")
    found, said = read([levels[:, 0], np.arange(12)], dataset=str(tmp_path / "things"))
    assert any(text.startswith(f"Labels were taken as: 0 = {found.class_names[0]}, 1 = ") for text in said)
    for label, name in enumerate(found.class_names):
        torch.testing.assert_close(
            found.pixels()[label].permute(1, 2, 0), torch.from_numpy(levels[label, 0]) / 255, msg=name
        )


def packed(kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("0/000.png", b"x")
    elif kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("0/000.png"))
    elif kind == "png":
        Image.new("L", (8, 8)).save(buffer, "PNG")
    else:
        torch.save([torch.randn(10, 1, 8, 8), CLASSES], buffer)
        return buffer.getvalue()[:-300]
    return buffer.getvalue()


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "data.pt is empty"),
        (POINTER, "is a pointer of Git LFS.*git lfs pull"),
        (b"\n<!DOCTYPE html><html><body>Sign in</body></html>", "is a web page.*Download the file itself"),
        (b"<HTML>404", "is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "is a web page"),
        ("Größe: 3\n".encode() * 200, "is a text file"),
        (b'{"images": []}', "is a text file|not a safetensors file"),
        (pickle.dumps([1, 2], protocol=4), "is a pickle, which is not read.*torch.save"),
        (gzip.compress(b"x" * 99, mtime=0), "is a packed archive.*Unpack it"),
        (packed("tar"), "is a packed archive"),
        (packed("zip"), r"is a zip file, but not one of torch\.save.*Unpack it"),
        (packed("pt"), "is damaged"),
        (packed("png"), "is a picture.*cannot be taken apart"),
        (b"\x89HDF\r\n\x1a\n" + b"\x00" * 99, "is an HDF5 file.*numpy.savez"),
        (b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b" " * 90 + b"\x00\x01IM", "is a MATLAB file"),
        (b"\x00\x01\x02\x03" * 99, "is of no known kind"),
    ],
)  # fmt: skip
def test_files_that_are_something_else(
    cli: Callable[..., Answer], tmp_path: Path, data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.pt").write_bytes(data)
    for options in ((), ("--dataset", "digits")):
        code, out, err = cli("import", "data.pt", *options)
        assert (code, out) == (1, "")
        lines = err.splitlines()
        assert len(lines) <= 2
        assert lines[0].startswith("Error: data.pt")
        assert re.search(message, " ".join(lines)), err


def test_remarks_are_printed(cli: Callable[..., Answer], tmp_path: Path, pixels: torch.Tensor) -> None:
    torch.save([pixels, CLASSES], tmp_path / "data.pt")
    arguments = ("import", str(tmp_path / "data.pt"), "--dataset", "digits", "--space", "pixels", "--method", "idc")
    code, out, err = cli(*arguments)
    assert code == 0
    assert "Stored digits-idc-ipc1:1" in out
    assert "several smaller ones: give --formation 2" in err
    code, out, err = cli(*arguments, "--quiet")
    assert (code, out, err) == (0, "digits-idc-ipc1:1\n", "")


def test_images_and_labels_in_the_wrong_order_are_named(read: Read, pixels: torch.Tensor) -> None:
    with pytest.raises(DsactlError, match="the images are 10, and should be") as raised:
        read([CLASSES, pixels], space="pixels")
    assert raised.value.hint.startswith("Are images and labels swapped?")
