import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file

import registry
from registry import export as export_module
from registry.class_folders import class_folders
from registry.export import FORMATS, Exported, default_name, export
from registry.importing import read_folder
from registry.tensors import describe

MEAN, STD = [0.5, 0.4, 0.3], [0.25, 0.2, 0.3]
NAMES = ["plane", "../x", "größe"]
LABELS = np.array([0, 0, 0, 1, 2, 2])
IMAGES = np.random.default_rng(0).normal(size=(6, 3, 5, 4)).astype(np.float32)
PIXELS = IMAGES * np.array(STD).reshape(1, 3, 1, 1) + np.array(MEAN).reshape(1, 3, 1, 1)
LEVELS = np.rint(np.clip(PIXELS, 0, 1) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
CLIPPED = int(((PIXELS < -0.5 / 255) | (PIXELS > 1 + 0.5 / 255)).sum())


def put(store: registry.Store, images: np.ndarray = IMAGES, mean: list[float] = MEAN, std: list[float] = STD):  # type: ignore[no-untyped-def]
    arrays = {"images": images, "labels": LABELS}
    manifest = registry.Manifest(
        dataset=registry.DatasetInfo(
            name="things", split="train", checksum="0" * 64, class_names=NAMES, mean=mean, std=std, counts=[9, 9, 9]
        ),
        method="dsa",
        recipe={},
        network="convnet",
        seed=0,
        tensors=describe(arrays),
        provenance={},
    )
    return store.put(registry.parse_name("things"), arrays, manifest)


@pytest.fixture
def store(tmp_path: Path) -> registry.Store:
    return registry.Store(tmp_path / "store")


def test_safetensors_is_the_stored_file(store: registry.Store, tmp_path: Path) -> None:
    stored = put(store)
    path = tmp_path / "a" / "set.safetensors"
    assert export(store, stored, path, "safetensors") == Exported(path, 0, IMAGES.size)
    assert path.read_bytes() == stored.file.read_bytes()
    assert (load_file(path)["images"] == IMAGES).all()


def test_npz_is_read_without_pickle(store: registry.Store, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    assert export(store, put(store), path, "npz").clipped == 0
    with np.load(path, allow_pickle=False) as arrays:
        assert sorted(arrays) == ["class_names", "dsactl.manifest", "images", "labels", "mean", "std"]
        assert arrays["images"].dtype == np.float32
        assert (arrays["images"] == IMAGES).all()
        assert (arrays["labels"] == LABELS).all()
        assert arrays["class_names"].tolist() == NAMES
        np.testing.assert_array_equal(arrays["mean"], np.float32(MEAN))
        np.testing.assert_array_equal(arrays["std"], np.float32(STD))


def test_npz_as_pixels(store: registry.Store, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    assert export(store, put(store), path, "npz", space="pixels").clipped == CLIPPED > 0
    with np.load(path, allow_pickle=False) as arrays:
        assert arrays["images"].dtype == np.uint8
        assert (arrays["images"] == LEVELS).all()


def test_a_grid(store: registry.Store, tmp_path: Path) -> None:
    path = tmp_path / "set.png"
    assert export(store, put(store), path, "png") == Exported(path, CLIPPED, IMAGES.size)
    picture = np.asarray(Image.open(path))
    factor = 12  # 4 pixels to 48
    tile = picture[2 : 2 + 5 * factor : factor, 2 : 2 + 4 * factor : factor]
    assert (tile == LEVELS[0]).all()


def test_a_folder_comes_back(store: registry.Store, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "set"
    assert export(store, put(store), folder, "folder").clipped == CLIPPED
    found = {str(path.relative_to(folder)) for path in folder.rglob("*.png")}
    assert found == {f"{d}/{i:03d}.png" for d, n in (("plane", 3), ("_x", 1), ("größe", 2)) for i in range(n)}
    assert (np.asarray(Image.open(folder / "größe" / "001.png")) == LEVELS[5]).all()
    assert [path.name for path in folder.parent.iterdir()] == ["set"]
    images, labels = read_folder(folder, NAMES, (3, 5, 4))
    assert (labels == LABELS).all()
    np.testing.assert_array_equal(images, LEVELS.transpose(0, 3, 1, 2) / np.float32(255))


def test_parquet(store: registry.Store, tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    assert export(store, put(store), path, "parquet").clipped == CLIPPED
    rows = pq.read_table(path).to_pylist()
    assert [row["label"] for row in rows] == LABELS.tolist()
    pictures = [np.asarray(Image.open(io.BytesIO(row["image"]["bytes"]))) for row in rows]
    assert (np.stack(pictures) == LEVELS).all()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_replaced_unless_told(store: registry.Store, tmp_path: Path, form: str) -> None:
    stored = put(store)
    path = tmp_path / "out" / default_name(stored, form)
    assert path.name == ("things-v1" if form == "folder" else f"things-v1.{form}")
    export(store, stored, path, form)
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(registry.RegistryError, match=r"already exists.*`force=True`, .*`output`"):
        export(store, stored, path, form)
    export(store, stored, path, form, force=True)
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize("entry", ["notes.txt", "plane/notes.txt", "plane/sub/000.png"])
def test_force_takes_away_no_folder_but_an_export(store: registry.Store, tmp_path: Path, entry: str) -> None:
    folder = tmp_path / "mine"
    (folder / entry).parent.mkdir(parents=True)
    (folder / entry).write_text("precious")
    with pytest.raises(registry.RegistryError, match="contains more than an exported set"):
        export(store, put(store), folder, "folder", force=True)
    with pytest.raises(registry.RegistryError, match="is a folder"):
        export(store, put(store), folder, "npz", force=True)
    assert (folder / entry).read_text() == "precious"


def test_force_replaces_no_pipe(store: registry.Store, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(registry.RegistryError, match="is a device or a pipe"):
        export(store, put(store), pipe, "npz", force=True)
    assert pipe.is_fifo()


def test_a_link_is_not_followed(store: registry.Store, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.mkdir()
    link.symlink_to(target)
    with pytest.raises(registry.RegistryError, match="contains more than"):
        export(store, put(store), link, "folder", force=True)
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    export(store, put(store), link, "npz", force=True)
    assert not link.is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_an_export_that_fails_leaves_what_was_there(
    store: registry.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, folder = put(store), tmp_path / "out" / "set"
    export(store, stored, folder, "folder")
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    write, left = Path.write_bytes, [3]

    def write_some(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_some)
    for target in (folder, folder.with_name("other")):
        left[0] = 3
        with pytest.raises(registry.StoreError, match=r"No space left on device\. Free space, or .*`output`"):
            export(store, stored, target, "folder", force=True)
    monkeypatch.undo()
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    assert [path.name for path in folder.parent.iterdir()] == ["set"]


def test_what_cannot_be_written(store: registry.Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for form in FORMATS:
        with pytest.raises(registry.StoreError, match=r"Cannot write.*: Not a directory\. Choose another place"):
            export(store, put(store), tmp_path / "file" / "set", form)
    stored = put(store, IMAGES[:, :2], MEAN[:2], STD[:2])
    for form in ("png", "folder", "parquet"):
        with pytest.raises(registry.RegistryError, match="2 channels cannot be drawn"):
            export(store, stored, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no images in normalised space"):
        export(store, stored, tmp_path / "out", "png", space="normalised")


def test_a_damaged_set_is_not_exported(store: registry.Store, tmp_path: Path) -> None:
    stored = put(store)
    stored.file.write_bytes(stored.file.read_bytes()[:-1] + b"x")
    for form in FORMATS:
        with pytest.raises(registry.CorruptError):
            export(store, stored, tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_folders_of_ordinary_names_are_those_names() -> None:
    names = ["0", "cat", "Sulphur butterfly", "größe", "日本", "a.b", "n02123394"]
    assert class_folders(names) == names


def test_folders_of_odd_names() -> None:
    names = [
        "../x",
        "a/b",
        "a\\b",
        "CON",
        "con.txt",
        "",
        "..",
        ".hidden",
        "cat",
        "Cat",
        "CAT",
        "end. ",
        "a\x00\nb",
        "\ud800",
    ]
    assert class_folders(names) == [
        "_x", "a_b", "a_b-2", "_CON", "_con.txt", "class", "class-6", "hidden", "cat", "Cat-9", "CAT-10", "end",
        "a__b", "_",
    ]  # fmt: skip
    assert class_folders(["a", "A", "a-1"]) == ["a", "A-1", "a-1-2"]
    assert class_folders(["é", "e\u0301"]) == ["é", "é-1"]


@given(st.lists(st.text(max_size=300), max_size=8))
def test_folders_neither_leave_nor_meet(names: list[str]) -> None:
    folders = class_folders(names)
    assert len({folder.casefold() for folder in folders}) == len(names)
    for folder in folders:
        assert Path(folder).name == folder
        assert folder.isprintable()
        assert not folder.startswith(".")
        assert not folder.endswith((".", " "))
        assert not set(folder) & set('<>:"/\\|?*')
        assert 0 < len(folder.encode()) <= 255


def test_the_formats_are_those_of_the_docstring() -> None:
    assert all(f"    {form} " in str(export_module.__doc__) for form in FORMATS)
