from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import registry
from dsactl.data.dataset import Dataset
from dsactl.data.load import load_dataset
from dsactl.errors import DataError, DsactlError, UnknownNameError, UsageError
from dsactl.recipes.recipe import Recipe, Request
from dsactl.synthetic.importing.sets import Source, import_sets
from dsactl.synthetic.synthetic_set import from_store
from registry.importing import MAX_BYTES, read_file, read_folder

IMAGES = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(10).repeat_interleave(2)
DIGITS = Source("digits")


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


def save(content: Any, path: Path) -> Path:
    torch.save(content, path)
    return path


def test_normalised_images_are_kept_as_they_are(store: registry.Store, tmp_path: Path, digits: Dataset) -> None:
    path = save([IMAGES, LABELS], tmp_path / "data.pt")
    (stored,) = import_sets(path, DIGITS, store)
    assert stored.reference == "digits-imported-ipc2:1"
    found = from_store(store, stored)
    assert torch.equal(found.images, IMAGES)
    assert torch.equal(found.labels, LABELS)
    assert found.mean == digits.mean
    assert found.recipe == Recipe(
        "digits", digits.train.checksum(), "imported", 2, 0, (1, 8, 8), ("color", "crop", "cutout", "scale", "rotate")
    )
    about = stored.manifest.provenance
    assert about["imported from"] == "data.pt"
    assert about["space"] == "normalised"
    assert "experiment" not in about
    assert stored.picture is not None
    # Importing the same file again gives the same version.
    assert import_sets(path, DIGITS, store) == [stored]


def test_pixels_are_normalised(store: registry.Store, tmp_path: Path, digits: Dataset) -> None:
    pixels = torch.rand(20, 1, 8, 8)
    path = save([pixels, LABELS], tmp_path / "data.pt")
    (stored,) = import_sets(path, Source("digits", space="pixels", method="idc"), store)
    assert stored.reference == "digits-idc-ipc2:1"
    found = from_store(store, stored)
    torch.testing.assert_close(found.images, (pixels - digits.mean[0]) / digits.std[0])
    torch.testing.assert_close(found.pixels(), pixels)


def test_a_wrong_space_is_noticed(store: registry.Store, tmp_path: Path) -> None:
    path = save([torch.rand(20, 1, 8, 8), LABELS], tmp_path / "data.pt")
    with pytest.raises(UsageError, match=r"all values lie in 0 … 1.*Add `space=.pixels.`"):
        import_sets(path, DIGITS, store)
    assert len(import_sets(path, Source("digits", space="normalised"), store)) == 1
    save([torch.rand(20, 1, 8, 8) * 255, LABELS], path)
    with pytest.raises(UsageError, match=r"are not pixels of 0 … 1.*divide by 255"):
        import_sets(path, Source("digits", space="pixels"), store)
    with pytest.raises(UnknownNameError, match=r"Unknown space 'pixel'.*'pixels'"):
        import_sets(path, Source("digits", space="pixel"), store)


def test_the_authors_files_need_no_options(store: registry.Store, tmp_path: Path) -> None:
    content = {
        "data": [[IMAGES + index, LABELS] for index in range(3)],
        "accs_all_exps": {"ConvNet": [np.float64(0.5)]},
    }
    path = save(content, tmp_path / "res_DC_digits_ConvNet_2ipc.pt")
    sets = import_sets(path, Source(), store)
    assert [each.reference for each in sets] == [f"digits-dc-convnet-ipc2:{version}" for version in (1, 2, 3)]
    for index, stored in enumerate(sets):
        found = from_store(store, stored)
        assert torch.equal(found.images, IMAGES + index)
        assert (found.recipe.method, found.strategy) == ("dc", ())
        assert stored.manifest.provenance["experiment"] == index
    (second,) = import_sets(path, Source(experiment=1, name="mine/second", strategy="crop"), store)
    assert second.reference == "mine/second:1"
    assert from_store(store, second).strategy == ("crop",)
    assert torch.equal(from_store(store, second).images, IMAGES + 1)
    with pytest.raises(UsageError, match=r"no experiment 3.*It has 0 … 2"):
        import_sets(path, Source(experiment=3), store)


def test_images_and_labels_in_two_files(store: registry.Store, tmp_path: Path) -> None:
    images, labels = save(IMAGES, tmp_path / "images_best.pt"), save(LABELS.flip(0), tmp_path / "labels_best.pt")
    (stored,) = import_sets(images, Source("digits", labels=labels, method="MTT"), store)
    assert stored.reference == "digits-mtt-ipc2:1"
    found = from_store(store, stored)
    assert torch.equal(found.labels, LABELS)
    assert torch.equal(found.images, IMAGES.view(10, 2, 1, 8, 8).flip(0).flatten(0, 1))


def test_ipc_is_that_of_the_largest_class(store: registry.Store, tmp_path: Path) -> None:
    path = save([IMAGES[:5], torch.tensor([3, 3, 0, 3, 9])], tmp_path / "data.pt")
    (stored,) = import_sets(path, DIGITS, store)
    found = from_store(store, stored)
    assert stored.reference == "digits-imported-ipc3:1"
    assert found.labels.tolist() == [0, 3, 3, 3, 9]


def test_a_folder_of_pictures(store: registry.Store, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
    for name, picture in zip(("7/a.png", "2/b.png", "7/B.PNG"), levels, strict=True):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "in" / name)
    (tmp_path / "in" / ".hidden").mkdir()
    (tmp_path / "in" / "about.txt").write_text("")
    (stored,) = import_sets(tmp_path / "in", DIGITS, store)
    found = from_store(store, stored)
    assert found.labels.tolist() == [2, 7, 7]
    expected = torch.from_numpy(levels[[1, 2, 0]]).unsqueeze(1).float() / 255
    torch.testing.assert_close(found.pixels(), expected)
    assert stored.manifest.provenance["space"] == "pixels"
    for source, message in (
        (replace(DIGITS, space="normalised"), "Images of a folder are pixels"),
        (replace(DIGITS, experiment=0), "is a folder"),
        (Source(), "The dataset of .* is unknown.*as `dataset`"),
    ):
        with pytest.raises(UsageError, match=message):
            import_sets(tmp_path / "in", source, store)


def test_a_set_of_our_own_is_the_same_elsewhere(store: registry.Store, tmp_path: Path) -> None:
    (made,) = import_sets(save([IMAGES, LABELS], tmp_path / "data.pt"), DIGITS, store)
    for name, reference in ((None, "digits-imported-ipc2:1"), ("other", "other:1")):
        other = registry.Store(tmp_path / "elsewhere")
        (stored,) = import_sets(made.file, Source(name=name), other)
        assert stored.reference == reference
        assert stored.digest == made.digest
        assert stored.file.read_bytes() == made.file.read_bytes()
        assert stored.picture is not None
        assert made.picture is not None
        assert stored.picture.read_bytes() == made.picture.read_bytes()
    with pytest.raises(UsageError, match=r"contains its own description.*Only `name`"):
        import_sets(made.file, DIGITS, store)


def test_a_file_without_the_ending_is_known_by_its_content(store: registry.Store, tmp_path: Path) -> None:
    (made,) = import_sets(save([IMAGES, LABELS], tmp_path / "data.pt"), DIGITS, store)
    copy = tmp_path / "set.bin"
    copy.write_bytes(made.file.read_bytes())
    assert import_sets(copy, Source(), store) == [made]


def test_damaged_safetensors(store: registry.Store, tmp_path: Path) -> None:
    (made,) = import_sets(save([IMAGES, LABELS], tmp_path / "data.pt"), DIGITS, store)
    whole, path = made.file.read_bytes(), tmp_path / "set.safetensors"
    for data in (b"", whole[:-1], whole[:100], whole[:-1] + b"x", b"x" + whole[1:]):
        path.write_bytes(data)
        with pytest.raises(registry.RegistryError):
            import_sets(path, Source(), store)
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(registry.RegistryError, match="bytes; the limit is 4,294,967,296"):
        read_file(path)
    path.unlink()
    with pytest.raises(registry.RegistryError, match="There is no"):
        read_file(tmp_path / "nothing")
    assert store.versions(made.name) == [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": None}, "The dataset of .*data.pt is unknown.*as `dataset`: digits"),
        ({"dataset": "digit"}, "Unknown dataset 'digit'.*'digits'"),
        ({"method": "a method"}, "`method` must be a word of .*, not 'a method'"),
        ({"strategy": "crops"}, "Unknown kind of augmentation 'crops'"),
        ({"image_size": 8}, "`image_size`"),
        ({"labels": Path("no.pt")}, "labels of its own|There is no"),
    ],
)
def test_bad_options(store: registry.Store, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = save([IMAGES, LABELS], tmp_path / "data.pt")
    with pytest.raises((DsactlError, registry.RegistryError), match=message):
        import_sets(path, replace(DIGITS, **options), store)
    with pytest.raises(registry.BadNameError):
        import_sets(path, replace(DIGITS, **{**options, "name": "../x"}), store)
    assert store.sets() == []


def test_of_another_data_set(store: registry.Store, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images are 20×3×8×8, those of the dataset 1×8×8"):
        import_sets(save([IMAGES.repeat(1, 3, 1, 1), LABELS], tmp_path / "data.pt"), DIGITS, store)


def picture(path: Path, mode: str = "L", size: tuple[int, int] = (4, 5), **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)


def test_pictures_that_are_none_of_the_data_set(tmp_path: Path) -> None:
    names, shape = ["cat", "dog"], (1, 5, 4)
    with pytest.raises(registry.RegistryError, match="contains no pictures"):
        read_folder(tmp_path, names, shape)
    for file, options, message in (
        ("cats/0.png", {}, r"does not have the name of a class.*Did you mean cat\?"),
        ("zebra/0.png", {}, "does not have the name of a class.*Known classes: cat, dog"),
        ("cat/0.bmp", {}, "is not a PNG or JPEG file"),
        ("cat/0.png", {"size": (5, 4)}, "has 5×4 pixels, not 4×5 as in the dataset"),
        ("cat/0.png", {"mode": "I;16"}, "is transparent or not 8-bit"),
        ("cat/0.png", {"mode": "LA"}, "is transparent or not 8-bit"),
        ("cat/0.png", {"mode": "L", "transparency": 3}, "is transparent or not 8-bit"),
        ("cat/0.png", {"mode": "L", "format": "BMP"}, "not a readable PNG or JPEG file"),
    ):
        path = tmp_path / file.replace("/", "-") / file
        picture(path, **options)
        with pytest.raises(registry.RegistryError, match=message):
            read_folder(path.parent.parent, names, shape)
        path.unlink()
        path.parent.rmdir()
    colour = tmp_path / "colour" / "dog" / "0.png"
    colour.parent.mkdir(parents=True)
    Image.new("RGB", (4, 5), "red").save(colour)
    with pytest.raises(registry.RegistryError, match="is in colour"):
        read_folder(tmp_path / "colour", names, shape)
    assert read_folder(tmp_path / "colour", names, (3, 5, 4))[0][0, :, 0, 0].tolist() == [1, 0, 0]
    whole = colour.read_bytes()
    for data in (whole[:-20], whole[:40], b"", b"x" * 50, whole.replace(b"IDAT", b"IDAx")):
        colour.write_bytes(data)
        with pytest.raises(registry.CorruptError, match="not a readable PNG or JPEG file"):
            read_folder(tmp_path / "colour", names, (3, 5, 4))


def test_grey_palettes_are_read(tmp_path: Path) -> None:
    levels = np.arange(20, dtype=np.uint8).reshape(5, 4)
    (tmp_path / "cat").mkdir()
    Image.fromarray(levels).convert("P").save(tmp_path / "cat" / "0.png")
    images, labels = read_folder(tmp_path, ["cat"], (1, 5, 4))
    np.testing.assert_array_equal(images[0, 0], levels / np.float32(255))
    assert labels.tolist() == [0]


def test_recipes_of_imported_sets_survive_json() -> None:
    for method in ("imported", "dsa", "dc", "mtt", "random"):
        recipe = Recipe("digits", "0" * 64, method, 3, 0, (1, 8, 8), ())
        values = recipe.to_dict()
        assert set(values) == {"dataset", "checksum", "method", "ipc", "seed", "image_shape", "strategy"}
        assert Recipe.from_dict(values) == recipe
        assert recipe.set_name == f"digits-{method}-ipc3"
    for change in ({"method": "a method"}, {"method": ""}, {"scheme": "mtt"}):
        with pytest.raises(DataError, match="Not a recipe"):
            Recipe.from_dict(values | {"method": "mtt"} | change)
    with pytest.raises(UnknownNameError, match="Unknown method 'imported'"):
        Request.parse({"dataset": "digits", "ipc": 1, "method": "imported"})
