"""What export writes is read back: the same set, or the set of its 8-bit pixels."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dsactl
import registry
from dsactl.data.load import load_dataset
from dsactl.errors import DataError, UsageError
from dsactl.methods.work import CondensedSet
from dsactl.parametrisation.formation import Formation
from dsactl.recipes.recipe import Recipe
from dsactl.synthetic.exporting import export_pt
from dsactl.synthetic.importing.sets import import_sets
from dsactl.synthetic.importing.source import Source
from dsactl.synthetic.preview import preview
from dsactl.synthetic.storage import store_set
from registry.export import export
from registry.pictures import grid_png
from registry.tensors import MANIFEST_KEY, encode

WRITTEN = [
    ("safetensors", "normalised"),
    ("npz", "normalised"),
    ("npz", "pixels"),
    ("pt", "normalised"),
    ("parquet", "pixels"),
    ("folder", "pixels"),
]
Put = Callable[..., registry.StoredSet]


@pytest.fixture
def put() -> Put:
    """Store 20 images of digits' shape; soft labels whose most likely class is not always the label."""
    dataset = load_dataset("digits")

    def store(*, soft: bool, exact: bool = False) -> registry.StoredSet:
        source = torch.Generator().manual_seed(0)
        images = torch.rand(20, 1, 8, 8, generator=source) * 1.2 - 0.1
        if exact:
            images = torch.randint(256, images.shape, generator=source) / 255
        labels = torch.arange(10).repeat_interleave(2)
        soft_labels = torch.softmax(torch.randn(20, 10, generator=source), 1) if soft else None
        recipe = Recipe("digits", dataset.train.checksum(), "random", 2, 0, (1, 8, 8), ())
        mean, std = dataset.mean[0], dataset.std[0]
        normalised = (images - torch.tensor(mean)) / torch.tensor(std)
        return store_set(
            registry.Store(),
            registry.parse_name("before"),
            dataset,
            recipe,
            CondensedSet(normalised, labels, soft_labels),
            {"device": "test"},
        )

    return store


def write(stored: registry.StoredSet, form: str, space: str, folder: Path) -> Path:
    path = folder / f"set.{form}"
    if form == "pt":
        export_pt(registry.Store(), stored, path)
    else:
        export(registry.Store(), stored, path, form, space=space)
    return path


def read_back(path: Path, home: Path) -> tuple[registry.StoredSet, dict[str, np.ndarray]]:
    source = Source("digits", name="back", method="random") if path.is_dir() else Source(name="back")
    store = registry.Store(home)
    (stored,) = import_sets(path, source, store)
    return stored, store.tensors(stored)


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize(("form", "space"), WRITTEN)
def test_every_format_comes_back(tmp_path: Path, put: Put, form: str, space: str, soft: bool) -> None:
    before = put(soft=soft)
    stored, tensors = read_back(write(before, form, space, tmp_path), tmp_path / "elsewhere")
    known = registry.Store().tensors(before)
    assert np.array_equal(tensors["labels"], known["labels"])
    if soft and form != "folder":
        assert np.array_equal(tensors["soft_labels"], known["soft_labels"])
    if space == "normalised":
        assert stored.digest == before.digest
        assert np.array_equal(tensors["images"], known["images"])
        return
    info = before.manifest.dataset
    pixels, expected = (each["images"] * info.std[0] + info.mean[0] for each in (tensors, known))
    assert np.abs(pixels - expected.clip(0, 1)).max() <= 0.5001 / 255
    assert stored.manifest.method == "random"
    if form != "folder":
        assert stored.manifest.recipe == before.manifest.recipe
        assert stored.manifest.provenance["read back from"] == "8-bit pixels"


@pytest.mark.parametrize(("form", "space"), [each for each in WRITTEN if each[0] != "folder"])
def test_images_of_8_bits_come_back_as_the_same_set(tmp_path: Path, put: Put, form: str, space: str) -> None:
    before = put(soft=True, exact=True)
    assert read_back(write(before, form, space, tmp_path), tmp_path / "elsewhere")[0].digest == before.digest
    assert read_back(write(before, form, space, tmp_path / "again"), registry.Store().home)[0].digest == before.digest


@pytest.mark.parametrize(("form", "space"), [each for each in WRITTEN if each[0] not in ("parquet", "folder")])
def test_stored_tiles_come_back(tmp_path: Path, form: str, space: str) -> None:
    made = dsactl.condense("digits", ipc=1, method="random", formation=2)
    before = registry.Store().newest()
    stored, tensors = read_back(write(before, form, space, tmp_path), tmp_path / "elsewhere")
    assert stored.manifest.recipe == before.manifest.recipe
    assert tensors["images"].shape == (10, 1, 8, 8)
    elsewhere = registry.Store(tmp_path / "elsewhere")
    again = dsactl.load(stored.reference, elsewhere)
    if space == "normalised":
        assert stored.digest == before.digest
        assert elsewhere.picture_bytes(stored) == registry.Store().picture_bytes(before), "decoded, too"
        assert torch.equal(again.images, made.images)
    else:
        torch.testing.assert_close(again.pixels(), made.pixels(), atol=0.501 / 255, rtol=0)


def test_a_preview_decodes_what_it_shows_alone() -> None:
    """It is the picture of all decoded images, of classes in any order and of many images."""
    source = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (90,), generator=source)
    images = torch.rand(90, 1, 4, 4, generator=source)
    whole = Formation(2)
    every = grid_png(whole.decode(images).numpy(), whole.decode_labels(labels).numpy(), (0.1,), (0.9,))
    assert preview(images, labels, 2, (0.1,), (0.9,)) == every


def test_a_formation_that_does_not_fit_shows_what_is_stored(tmp_path: Path) -> None:
    """A file of a stranger, whose images can be kept and looked at, and not decoded."""
    dsactl.condense("digits", ipc=1, method="random", formation=2)
    store = registry.Store()
    before = store.newest()
    odd = before.manifest.model_copy(update={"recipe": {**before.manifest.recipe, "formation": 3}})
    (tmp_path / "odd.safetensors").write_bytes(encode(store.tensors(before), odd))
    (stored,) = import_sets(tmp_path / "odd.safetensors", Source(name="odd"), store)
    info, tensors = stored.manifest.dataset, store.tensors(before)
    assert store.picture_bytes(stored) == grid_png(tensors["images"], tensors["labels"], info.mean, info.std)


def test_torch_reads_the_file_as_the_authors_programs_do(tmp_path: Path, put: Put) -> None:
    before = put(soft=True)
    content = torch.load(write(before, "pt", "normalised", tmp_path), weights_only=True)
    ((images, labels),) = content["data"]
    known = registry.Store().tensors(before)
    assert images.dtype == torch.float32
    assert np.array_equal(images, known["images"])
    assert labels.dtype == torch.int64
    assert np.array_equal(labels, known["labels"])
    assert content["accs_all_exps"] == {}
    assert np.array_equal(content["soft_labels"], known["soft_labels"])
    write(before, "pt", "normalised", tmp_path / "again")
    assert (tmp_path / "set.pt").read_bytes() == (tmp_path / "again" / "set.pt").read_bytes()


def test_a_file_without_the_manifest_is_one_of_another_program(tmp_path: Path, put: Put) -> None:
    before = put(soft=True)
    known = registry.Store().tensors(before)
    content = torch.load(write(before, "pt", "normalised", tmp_path), weights_only=True)
    del content[MANIFEST_KEY]
    torch.save(content, tmp_path / "set.pt")
    with np.load(write(before, "npz", "normalised", tmp_path)) as arrays:
        np.savez(tmp_path / "set.npz", **{name: arrays[name] for name in arrays if name != MANIFEST_KEY})
    for name in ("set.pt", "set.npz"):
        store = registry.Store(tmp_path / f"home-{name}")
        (stored,) = import_sets(tmp_path / name, Source("digits"), store)
        assert stored.manifest.method == "imported"
        for key, array in store.tensors(stored).items():
            assert np.array_equal(array, known[key])
    import pyarrow.parquet as pq

    table = pq.read_table(write(before, "parquet", "pixels", tmp_path))
    pq.write_table(table.replace_schema_metadata(None), tmp_path / "set.parquet")
    (stored,) = import_sets(tmp_path / "set.parquet", Source("digits"), registry.Store(tmp_path / "parquet"))
    assert stored.manifest.method == "imported"
    assert np.array_equal(registry.Store(tmp_path / "parquet").tensors(stored)["soft_labels"], known["soft_labels"])


def test_a_file_that_does_not_match_its_manifest(tmp_path: Path, put: Put) -> None:
    with np.load(write(put(soft=False), "npz", "normalised", tmp_path)) as arrays:
        whole = dict(arrays)
    for change, message in (
        ({"images": whole["images"] + 1}, "its arrays do not match its manifest.*leave 'dsactl.manifest' out"),
        ({"images": whole["images"].astype(np.float64)}, "does not hold a set: images must be float32"),
        ({"labels": whole["labels"][:3]}, "does not hold a set"),
        ({"images": np.zeros((20, 8, 8, 3), np.uint8)}, "do not have the channels of its manifest"),
        ({"images": np.zeros((20, 8, 8, 1), np.uint8), "labels": np.full(20, 99)}, "labels outside of its 10 classes"),
        ({MANIFEST_KEY: np.array("{}")}, "set.npz is damaged"),
        ({MANIFEST_KEY: np.array("[")}, "is not a JSON object"),
    ):
        np.savez(tmp_path / "set.npz", **{**whole, **change})
        with pytest.raises(registry.RegistryError, match=message):
            read_back(tmp_path / "set.npz", tmp_path / "elsewhere")


def test_a_file_of_another_precision_does_not_match_its_manifest(tmp_path: Path, put: Put) -> None:
    path = write(put(soft=True), "pt", "normalised", tmp_path)
    content = torch.load(path, weights_only=True)
    ((images, labels),) = content["data"]
    for change in (
        {"data": [[images.bfloat16(), labels]]},
        {"data": [[images, labels.bfloat16()]]},
        {"soft_labels": content["soft_labels"].bfloat16()},
    ):
        torch.save({**content, **change}, path)
        with pytest.raises(
            registry.CorruptError, match=r"its arrays do not match its manifest\..*leave 'dsactl\.manifest'"
        ):
            read_back(path, tmp_path / "elsewhere")


def test_options_for_a_file_that_describes_itself_are_refused(tmp_path: Path, put: Put) -> None:
    for form in ("safetensors", "npz", "pt", "parquet"):
        path = write(put(soft=False), form, "pixels" if form == "parquet" else "normalised", tmp_path)
        with pytest.raises(UsageError, match=r"contains its own description.*Only `name`"):
            import_sets(path, Source("digits"), registry.Store())


def test_parquet_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1" + b"x" * 20)
    monkeypatch.setattr("registry.extras.is_installed", lambda package: False)
    with pytest.raises(registry.MissingPackageError, match=r"`import_sets\(\.\.\.\)` needs the package pyarrow"):
        import_sets(tmp_path / "x.parquet", Source("digits"), registry.Store())


def test_labels_of_parquet_are_not_rounded(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, stream = tmp_path / "x.parquet", io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(stream, "PNG")
    rows = [{"bytes": stream.getvalue()}] * 2
    pq.write_table(pa.table({"image": rows, "label": [0, 1.5]}), path)
    with pytest.raises(DataError, match=r"the labels are fractions, such as 1\.5"):
        import_sets(path, Source("digits"), registry.Store(tmp_path / "store"))
    pq.write_table(pa.table({"image": rows, "label": [0.0, 1.0]}), path)
    (stored,) = import_sets(path, Source("digits"), registry.Store(tmp_path / "store"))
    assert registry.Store(tmp_path / "store").tensors(stored)["labels"].tolist() == [0, 1]


def test_parquet_of_something_else(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    for table, message in (
        ({"a": [1]}, "the columns a; expected image and label"),
        ({"image": pa.nulls(0), "label": pa.nulls(0)}, "has no rows"),
        ({"image": [1], "label": [1]}, "other than pictures and class numbers"),
        ({"image": [{"bytes": b"x"}], "label": [1]}, "a picture in it is not a readable PNG"),
        ({"image": [{"bytes": b"x"}], "label": [None]}, "other than pictures and class numbers"),
        ({"image": [{"bytes": "x"}], "label": [1]}, "other than pictures and class numbers"),
        ({"image": [{"bytes": 1}], "label": [1]}, "other than pictures and class numbers"),
        ({"image": [{"bytes": [1]}], "label": [1]}, "other than pictures and class numbers"),
        ({"image": [{"bytes": b""}], "label": [1]}, "other than pictures and class numbers"),
        ({"image": [{"path": "x"}], "label": [1]}, "other than pictures and class numbers"),
    ):
        pq.write_table(pa.table(table), path)
        with pytest.raises(registry.RegistryError, match=message):
            import_sets(path, Source("digits"), registry.Store())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(registry.CorruptError, match="is damaged"):
        import_sets(path, Source("digits"), registry.Store())


def test_a_parquet_of_many_equal_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, picture = tmp_path / "bomb.parquet", {"bytes": b"x" * 1000, "path": ""}
    pq.write_table(pa.table({"image": [picture] * 5000, "label": [0] * 5000}), path)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr("registry.parquet.MAX_BYTES", 2**20)
    with pytest.raises(registry.RegistryError, match=r"The columns of .*bomb\.parquet have more than 1,048,576 bytes"):
        import_sets(path, Source("digits"), registry.Store())


def test_a_parquet_of_much_more_than_the_file_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, picture = tmp_path / "bomb.parquet", {"bytes": bytes(2**20), "path": ""}
    pq.write_table(pa.table({"image": [picture] * 80, "label": [0] * 80}), path, compression="zstd")
    limit = 2**26 + 1000 * path.stat().st_size
    assert limit < 80 * 2**20
    with pytest.raises(registry.RegistryError, match=f"have more than {limit:,} bytes"):
        import_sets(path, Source("digits"), registry.Store())


def test_a_parquet_of_many_rows_is_refused_before_they_are_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, kind = tmp_path / "bomb.parquet", pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    seen: list[int] = []
    monkeypatch.setattr("registry.parquet.read_pictures", lambda pictures, where: seen.append(len(pictures)))
    monkeypatch.setattr("registry.parquet.MAX_BYTES", 2**20)
    for image, message in (
        (None, "other than pictures and class numbers"),
        ({"bytes": b"x", "path": ""}, r"The columns of .*bomb\.parquet have more than 1,048,576 bytes"),
    ):
        pq.write_table(pa.table({"image": pa.array([image] * 5000, kind), "label": [0] * 5000}), path)
        with pytest.raises(registry.RegistryError, match=message):
            import_sets(path, Source("digits"), registry.Store())
    assert not seen


def test_a_large_npz_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", images=np.zeros(2**20), labels=np.zeros(3))
    assert (tmp_path / "bomb.npz").stat().st_size < 2**14
    monkeypatch.setattr("registry.numpy_files.MAX_BYTES", 2**20)
    with pytest.raises(registry.RegistryError, match=r"The arrays of .*bomb\.npz have more than 1,048,576 bytes"):
        import_sets(tmp_path / "bomb.npz", Source("digits"), registry.Store())


def npy(header: str, data: bytes = b"") -> bytes:
    """Return an npy file with a handmade header."""
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }"),
            "does not have the 1000000000000",
        ),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", b"1234"), "is damaged"),
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"\x80\x04N."), "has Python objects"),
        (npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", b"12345678"), "values of type complex64"),
        (npy("{'descr': '<f4'}"), "its header is not one of numpy"),
        (npy("("), "its header is not one of numpy"),
        (b"\x93NUMPY\x07\x00", "its header is not one of numpy"),
        (b"\x93NUMPY", "its header is not one of numpy"),
    ],
)
def test_npy_files_that_lie(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(registry.RegistryError, match=message):
        import_sets(tmp_path / "x.npy", Source("digits"), registry.Store())


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.long)])
@pytest.mark.parametrize(("form", "space"), [each for each in WRITTEN if each[0] != "folder"])
def test_mutated_files_give_a_clear_error_or_a_set(
    tmp_path: Path, put: Put, form: str, space: str, count: int, tell: Callable[[str], None]
) -> None:
    path = write(put(soft=True), form, space, tmp_path)
    whole, source, messages = path.read_bytes(), random.Random(0), []
    for _ in range(count):
        data = bytearray(whole)
        for _ in range(source.choice((1, 1, 2, 8))):
            # Headers, footers and names are at the ends.
            place = source.choice((source.randrange(len(data)), source.randrange(400), -1 - source.randrange(400)))
            data[place] ^= 1 << source.randrange(8)
        if source.random() < 0.1:
            del data[source.randrange(len(data)) :]
        path.write_bytes(data)
        try:
            read_back(path, tmp_path / "elsewhere")
        except registry.Error as error:
            messages.append(str(error))
    tell(f"{count} mutated {form} files: {len(messages)} errors")
    assert len(messages) > count // 10
    assert not any("\n" in message for message in messages)
