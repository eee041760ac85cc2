from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dsactl.data.folder import load_folder
from dsactl.data.load import load_dataset
from dsactl.errors import DataError, UsageError


def picture(path: Path, value: object = 0, size: tuple[int, int] = (10, 12), mode: str = "L") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Create two classes of ten grey images, 10 wide and 12 high, each of uniform brightness."""
    root = tmp_path / "My Cats & Dogs"
    for label, name in enumerate(("cat", "dog")):
        for index in range(10):
            picture(root / name / f"{index}.png", 100 * label + index)
    return root


def test_class_folders_are_split_by_seed(folder: Path) -> None:
    found = load_folder(folder)
    assert found.name == "my-cats-dogs"
    assert found.class_names == ("cat", "dog")
    assert (found.train.counts, found.test.counts) == ((8, 8), (2, 2))
    assert (found.channels, found.size) == (1, (12, 10))
    values = found.train.images_NCHW[:, 0, 0, 0].tolist() + found.test.images_NCHW[:, 0, 0, 0].tolist()
    assert sorted(values) == [*range(10), *range(100, 110)]
    assert load_folder(folder).train.checksum() == found.train.checksum()
    assert load_folder(folder, split_seed=1).train.checksum() != found.train.checksum()
    assert load_folder(folder, test_fraction=0.5).test.counts == (5, 5)
    assert load_folder(folder, test_fraction=0.999).train.counts == (1, 1)
    assert load_dataset(str(folder)).train.checksum() == found.train.checksum()


def test_train_and_test_folders_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "split"
    (root / "train").parent.mkdir()
    folder.rename(root / "train")
    picture(root / "test" / "cat" / "x.png", 50)
    picture(root / "test" / "dog" / "y.jpg", 60)
    found = load_folder(root)
    assert (found.train.counts, found.test.counts) == ((10, 10), (1, 1))
    with pytest.raises(UsageError, match="Leave `test_fraction` out"):
        load_folder(root, test_fraction=0.1)
    picture(root / "test" / "bird" / "z.png")
    with pytest.raises(DataError, match="not in both train and test: bird"):
        load_folder(root)


def test_colour_is_detected_from_the_pixels(folder: Path) -> None:
    picture(folder / "cat" / "grey-as-rgb.png", (9, 9, 9), mode="RGB")
    assert load_folder(folder).channels == 1
    picture(folder / "cat" / "red.png", (200, 0, 0), mode="RGB")
    found = load_folder(folder)
    assert found.channels == 3
    assert len(found.mean) == len(found.std) == 3
    pixels = np.concatenate([part.images_NCHW[:, :, 0, 0].numpy() for part in (found.train, found.test)])
    assert [200, 0, 0] in pixels.tolist()
    assert [105, 105, 105] in pixels.tolist()


MODES = {  # a pixel of a mode, and the expected result
    "bit": ("1", 1, (255, 255, 255)),
    "colour": ("RGB", (1, 2, 3), (1, 2, 3)),
    "grey": ("L", 9, (9, 9, 9)),
    "grey, transparent": ("LA", (80, 0), (255, 255, 255)),
    "half transparent": ("RGBA", (200, 0, 40, 51), (244, 204, 212)),
    "opaque": ("RGBA", (200, 0, 40, 255), (200, 0, 40)),
    "palette": ("P", 3, (30, 60, 90)),
    "printed": ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
    "sixteen bits": ("I;16", 0x80FF, (128, 128, 128)),
    "sixteen bits, dark": ("I;16", 0x70, (0, 0, 0)),
}


def test_every_common_mode_is_read(tmp_path: Path) -> None:
    for name, (mode, value, _) in MODES.items():
        image = Image.new(mode, (10, 12), value)
        if mode == "P":
            image.putpalette([0, 0, 0, 1, 1, 1, 2, 2, 2, 30, 60, 90])
        (tmp_path / "modes" / name).mkdir(parents=True)
        for index in range(2):
            image.save(tmp_path / "modes" / name / f"{index}.{'tif' if mode == 'CMYK' else 'png'}")
    found = load_folder(tmp_path / "modes", test_fraction=0.5)
    for label, (name, (_, _, read)) in enumerate(MODES.items()):
        assert found.class_names[label] == name
        for part in (found.train, found.test):
            assert (part.images_NCHW[label] == torch.tensor(read).view(3, 1, 1)).all(), name


def test_sizes_must_agree_or_be_made_to(folder: Path) -> None:
    odd = picture(folder / "dog" / "odd.png", 5, size=(30, 20))
    with pytest.raises(DataError, match=r"most are 10×12 pixels, .*odd.png is not"):
        load_folder(folder)
    assert load_folder(folder, image_size=8).size == (8, 8)
    odd.unlink()


def test_the_middle_is_cut_out(tmp_path: Path) -> None:
    wide = np.zeros((10, 30), np.uint8)
    wide[:, 10:20] = 200
    for name in ("a", "b"):
        for index in range(2):
            path = tmp_path / "wide" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(wide + index).save(path)
    found = load_folder(tmp_path / "wide", image_size=10)
    assert found.train.images_NCHW.min() >= 200


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for index in range(2):
            path = tmp_path / "turned" / name / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(np.arange(200, dtype=np.uint8).reshape(10, 20))
            exif = image.getexif()
            exif[0x0112] = 6  # rotated by 90 degrees
            image.save(path, exif=exif)
    assert load_folder(tmp_path / "turned").size == (20, 10)


def test_unreadable_pictures_are_named(folder: Path) -> None:
    text = folder / "cat" / "notes.png"
    text.write_text("not a picture")
    with pytest.raises(DataError, match=r"notes\.png is not an image in a known format"):
        load_folder(folder)
    text.unlink()
    whole = picture(folder / "cat" / "big.png", 3, size=(10, 12))
    noise = np.random.default_rng(0).integers(0, 255, (12, 10), dtype=np.uint8)
    Image.fromarray(noise).save(whole)
    whole.write_bytes(whole.read_bytes()[:-60])
    with pytest.raises(DataError, match=r"big\.png cannot be read: it is damaged or truncated"):
        load_folder(folder)


def test_folders_that_are_no_data_sets(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        load_dataset(str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no class folders"):
        load_folder(tmp_path / "empty")
    (tmp_path / "empty" / "class").mkdir()
    with pytest.raises(DataError, match="has no images"):
        load_folder(tmp_path / "empty")
    picture(tmp_path / "above" / "photos" / "cat" / "a.png")
    with pytest.raises(DataError, match="has no images") as raised:
        load_folder(tmp_path / "above")
    assert (
        raised.value.hint
        == f"Each sub-folder of the given folder is a class. Did you mean {tmp_path / 'above' / 'photos'}?"
    )
    picture(tmp_path / "one" / "only" / "a.png")
    picture(tmp_path / "one" / "only" / "b.png")
    with pytest.raises(DataError, match="has 1 class; condensing needs at least two"):
        load_folder(tmp_path / "one")
    picture(tmp_path / "one" / "single" / "a.png")
    with pytest.raises(DataError, match="'single' has only one image"):
        load_folder(tmp_path / "one")
    (tmp_path / "half").mkdir()
    folder.rename(tmp_path / "half" / "train")
    with pytest.raises(DataError, match="has a train folder and no test folder"):
        load_folder(tmp_path / "half")


def test_classes_of_one_image_are_counted(folder: Path) -> None:
    for name in ("w", "x", "y", "z"):
        picture(folder / name / "a.png")
    with pytest.raises(DataError, match=r"4 classes \('w', 'x', 'y', …\) have only one image") as raised:
        load_folder(folder)
    assert "train/CLASS/… and test/CLASS/…" in raised.value.hint


def test_a_folder_does_not_pass_for_a_catalogue_s_set(folder: Path) -> None:
    assert load_folder(folder.rename(folder.parent / "MNIST")).name == "folder-mnist"


def test_names_that_cannot_be_written_down_are_refused(folder: Path) -> None:
    picture(folder / "caf\udce9" / "a.png")
    with pytest.raises(DataError, match="has a name that cannot be stored"):
        load_folder(folder)


def test_hidden_and_foreign_files_are_passed_over(folder: Path) -> None:
    (folder / ".cache").mkdir()
    (folder / "readme.txt").write_text("hello")
    (folder / "cat" / ".DS_Store").write_text("x")
    (folder / "cat" / "list.csv").write_text("x")
    assert load_folder(folder).train.counts == (8, 8)


def test_what_was_passed_over_is_said(folder: Path) -> None:
    assert load_folder(folder).remark == f"{folder}: 2 classes, 16 training and 4 test images."
    (folder / "cat" / "inner").mkdir()
    for name in ("a.heic", "b.HEIC", "list.csv", ".DS_Store"):
        (folder / "cat" / name).write_text("x")
    said = load_folder(folder).remark
    assert "Skipped: 2 .heic, 1 .csv, 1 sub-folder. Images are files that Pillow reads" in said


def levels(path: Path, *values: np.ndarray) -> list[list[int]]:
    """Return the pixels read from a folder in which each class has copies of one image."""
    for name, picture in enumerate(values):
        (path / str(name)).mkdir(parents=True)
        for copy in range(2):
            Image.fromarray(picture).save(path / str(name) / f"{copy}{path.suffix}")
    return [image.flatten().tolist() for image in load_folder(path).train.images_NCHW]


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_sixteen_bits_are_cut_to_eight_however_dark_the_picture_is(tmp_path: Path, ending: str) -> None:
    dark, bright = np.array([[200, 100], [255, 0]], np.uint16), np.array([[200, 300], [0xFFFF, 0]], np.uint16)
    assert levels(tmp_path / f"folder.{ending}", dark, bright) == [[0, 0, 0, 0], [0, 1, 255, 0]]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_of_32_bits_only_levels_of_8_are_taken(tmp_path: Path, kind: type) -> None:
    fit = np.array([[0, 7], [200, 255]], kind)
    assert levels(tmp_path / "fit.tif", fit, fit) == [[0, 7, 200, 255]] * 2
    for number, odd in enumerate([256, -1, *([0.5, np.nan] if kind is np.float32 else [])]):
        unfit = np.array([[0, odd], [200, 255]], kind)
        with pytest.raises(DataError, match=r"/1/.\.tif has values from .* not all whole numbers of 0 … 255"):
            levels(tmp_path / f"unfit-{number}.tif", fit, unfit)
