"""`dsactl datasets FOLDER`: what an image folder has."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Cli = Callable[..., tuple[int, str, str]]


def put(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    """Write an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)


def test_a_folder_of_odd_sizes(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        put(Path("my [photos]", "cat", f"{number}.jpg"), (20 + number, 40))
    put(Path("my [photos]", "dog", "a.png"), (30, 9), "L")
    Path("my [photos]", "dog", "notes.txt").write_text("x")
    code, out, err = cli("datasets", "my [photos]")
    assert code == 0
    assert [line.split() for line in out.splitlines()[:3]] == [["class", "images"], ["cat", "3"], ["dog", "1"]]
    assert out.splitlines()[3] == "4 images of 9 to 40 pixels a side, in colour"
    assert "Skipped: 1 .txt." in err
    assert "a fifth of every class is held out for testing (--test-fraction)" in err
    assert err.splitlines()[-1] == "Next: dsactl condense 'my [photos]' --image-size 32 --ipc 1 --dry-run"
    assert cli("datasets", "my [photos]", "--quiet") == (0, "cat\ndog\n", "")


def test_a_folder_with_a_test_split_of_one_size(tmp_path: Path, cli: Cli) -> None:
    for split, count in (("train", 2), ("val", 1)):
        for name in ("a", "b"):
            for number in range(count):
                put(tmp_path / split / name / f"{number}.png", (8, 12), "L")
    code, out, err = cli("datasets", str(tmp_path))
    assert code == 0
    assert [line.split() for line in out.splitlines()[:2]] == [["class", "train", "test"], ["a", "2", "1"]]
    assert out.splitlines()[3] == "6 images of 8×12 pixels, grey"
    assert "val is taken as the test split." in err
    assert "held out" not in err
    assert "--image-size" not in err
    found = json.loads(cli("datasets", str(tmp_path), "--json")[1])
    assert found == {
        "classes": [{"name": name, "train": 2, "test": 1} for name in ("a", "b")],
        "size": [8, 12],
        "sides": [8, 12],
        "channels": 1,
    }


def test_a_folder_with_the_name_of_a_dataset(
    tmp_path: Path, cli: Cli, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`condense digits` takes the dataset, even where there is a folder `digits`."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        put(Path("digits", name, "1.png"), (8, 8))
    for name in ("digits", "digits@classes0-4"):
        assert f"'{name}' is the name of a dataset.\n  Named ones: dsactl datasets. A folder" in refused(
            "datasets", name
        )
    assert cli("datasets", "./digits", "-q") == (0, "a\nb\n", "")


def test_what_is_no_folder_of_images_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "nowhere is not a folder" in refused("datasets", str(tmp_path / "nowhere"))
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "broken.png").write_text("x")
    assert "broken.png" in refused("datasets", str(tmp_path))
