"""What needs no Hub: names of repositories, the parquet file."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from samples import put

from registry import BadNameError, HubError, Store
from registry.card import Pictures, write_card
from registry.hub import Notes, parse_address, parse_repo_id
from registry.hub.repository import parse_revision, tag_of, version_of
from registry.parquet import uncompressed_size, write_parquet

_SITE = "https://hub.example/"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user/repo", ("user/repo", None)),
        ("User_1/My.Repo-2:12", ("User_1/My.Repo-2", "v12")),
        ("user/_repo:v3", ("user/_repo", "v3")),
        ("user/repo:main", ("user/repo", "main")),
        ("user/repo:refs/pr/1", ("user/repo", "refs/pr/1")),
        ("user/repo:latest", ("user/repo", None)),
        ("datasets/repo:refs/pr/1", ("datasets/repo", "refs/pr/1")),
        ("u.x/datasets:refs/pr/1", ("u.x/datasets", "refs/pr/1")),
        *((f"{start}datasets/user/Repo", ("user/Repo", None)) for start in ("", "hf://", "hub.example/", _SITE)),
        ("datasets/user/repo:2", ("user/repo", "v2")),
        ("hf://datasets/user/repo@v2/set.safetensors", ("user/repo", "v2")),
        ("http://127.0.0.1:8000/mirror/datasets/user/repo/?x=/#files", ("user/repo", None)),
        (f"{_SITE}datasets/user/repo/tree/main", ("user/repo", "main")),
        (f"{_SITE}datasets/user/repo/blob/v2/data/train.parquet", ("user/repo", "v2")),
        (f"{_SITE}datasets/user/repo/tree/refs%2Fpr%2F1", ("user/repo", "refs/pr/1")),
        (f"{_SITE}datasets/user/repo/resolve/refs/pr/1/set.safetensors", ("user/repo", "refs/pr/1")),
    ],
)
def test_addresses(text: str, expected: tuple[str, str | None]) -> None:
    assert parse_address(text) == expected


_BAD = (
    "user|a/b/c|user/|/repo|user/a b|../user|user/a--b|user/..|user/a:|user/a.git|a./b|user/a:0|user/a:../b|"
    "user/a:1000000|user/a:1234567890|user/a\n|üser/a|user/a:-x|-a/b"
)


@pytest.mark.parametrize(
    "text",
    ["u/" + "a" * 95, *_BAD.split("|")],
)
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadNameError):
        parse_address(text)


@pytest.mark.parametrize(
    "text", ["user/repo", "spaces/user/repo", "datasets/repo", "datasets/user/repo/discussions/1", "models/user/repo"]
)
def test_addresses_of_something_else(text: str) -> None:
    with pytest.raises(BadNameError, match="is not the address of a dataset repository"):
        parse_address(_SITE + text)


@pytest.mark.parametrize(
    ("text", "limit"), [("u/" + "a" * 95, "96 characters"), ("user/repo:" + "a" * 201, "200 characters")]
)
def test_a_name_that_is_too_long_is_told_the_limit(text: str, limit: str) -> None:
    with pytest.raises(BadNameError, match=f"it has more than {limit}"):
        parse_address(text)


@given(st.text(alphabet="aA0._-/:~", max_size=12))
def test_no_repository_is_a_path_out_of_somewhere(text: str) -> None:
    try:
        parts = parse_repo_id(text).split("/")
    except BadNameError:
        return
    assert len(parts) == 2
    assert not any(part.startswith((".", "-")) or part in ("", "..") for part in parts)


def test_tags_of_versions() -> None:
    assert [version_of(tag_of(version)) for version in (1, 20, 999_999)] == [1, 20, 999_999]
    assert [version_of(text) for text in ("v0", "v01", "v", "1", "v1.0", "V1", "v1\n", "v1000000")] == [None] * 8
    assert parse_revision("7") == "v7"
    for version in (0, 1_000_000):
        with pytest.raises(HubError, match=f"Version {version} has too many digits for a tag"):
            tag_of(version)


@pytest.mark.parametrize(
    ("mean", "std", "shown"),
    [
        (88.46, 0.64, "88.5 ± 0.6"),
        (100, 0, "100.0 ± 0.0"),
        *((odd, 1.0, "") for odd in (10**400, -(10**400), 1e300, float("nan"), float("inf"), True, "1", None, [1], {})),
        (1.0, 10**400, ""),
    ],
    ids=lambda value: repr(value)[:9],
)
def test_results_on_the_card(tmp_path: Path, mean: Any, std: Any, shown: str) -> None:
    stored, pictures = put(Store(tmp_path)), Pictures(1, "data.parquet", 1, 1, 0, 1)
    for record in ({"mean": mean, "std": std}, {"paper": [mean, std]}):
        card = write_card(stored, "user/repo", Notes(), [record], pictures, None)
        (row,) = [line for line in card.splitlines() if line.startswith("|")][2:]
        cells = [cell.strip() for cell in row.split("|")]
        assert shown in cells
        assert "".join(cells) == shown


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        ({"name": "m|tt", "lr": 1}, "dsa crop, protocol m\\|tt"),
        ({"lr": 1}, "dsa crop"),
        ("mtt", "dsa crop"),
        ({"name": "idc", "cutmix": 0.5}, "dsa crop, protocol idc, CutMix 0.5"),
        ({"name": "idc"}, "dsa crop, protocol idc"),
    ],
)
def test_the_protocol_of_a_result_on_the_card(tmp_path: Path, protocol: Any, shown: str) -> None:
    stored, pictures = put(Store(tmp_path)), Pictures(1, "data.parquet", 1, 1, 0, 1)
    record = {"augmentation": "dsa crop", "protocol": protocol}
    card = write_card(stored, "user/repo", Notes(), [record], pictures, None)
    assert [line.endswith(f" {shown} |") for line in card.splitlines() if line.startswith("|")][2:] == [True]


@pytest.mark.parametrize("channels", [1, 3])
def test_parquet(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (230, 5, 4, channels), np.uint8)
    labels = np.arange(230) % 3
    data = write_parquet(images, labels, ["a", "ö", "0"])
    assert data == write_parquet(images, labels, ["a", "ö", "0"])
    table = pq.read_table(io.BytesIO(data))
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: string>"
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] == {
        "image": {"_type": "Image"},
        "label": {"names": ["a", "ö", "0"], "_type": "ClassLabel"},
    }
    assert table["label"].to_pylist() == labels.tolist()
    for row, image in zip(table["image"].to_pylist(), images, strict=True):
        np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(row["bytes"]))).reshape(image.shape), image)
    assert len({row["path"] for row in table["image"].to_pylist()}) == 230
    assert uncompressed_size(data) > images.nbytes


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 2), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(2, np.int32)),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 2])),
        (np.zeros((2, 4, 4, 1), np.uint8), np.array([-1, 0])),
    ],
)
def test_parquet_of_what_is_no_set(images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"images must|labels"):
        write_parquet(images, labels, ["a", "b"])
