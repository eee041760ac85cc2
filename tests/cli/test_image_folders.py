"""What the command line says of image folders."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsactl.cli import progress

Cli = Callable[..., tuple[int, str, str]]
RANDOM = ("--ipc", "1", "--method", "random")


def write(root: Path, classes: str, seed: int = 0) -> str:
    """Write four noisy images of every class."""
    for label, name in enumerate(classes.split(",")):
        (root / name).mkdir(parents=True)
        for index in range(4):
            noise = np.random.default_rng([seed, label, index]).integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{index}.png")
    return str(root)


def test_it_is_said_that_images_are_mirrored_and_how_not(cli: Cli, tmp_path: Path) -> None:
    pets, digits = write(tmp_path / "pets", "cat,dog"), write(tmp_path / "numbers", "3,6")
    _, _, said = cli("condense", pets, *RANDOM)
    assert "Mirrored images are taken to keep their class; --strategy color_crop_cutout_scale_rotate leaves" in said
    _, _, said = cli("condense", pets, *RANDOM, "--strategy", "color_crop_cutout_scale_rotate")
    assert "irror" not in said
    _, _, said = cli("condense", digits, *RANDOM)
    assert "strategy color_crop_cutout_scale_rotate" in said
    assert "so images are not mirrored; with --strategy color_crop_cutout_flip_scale_rotate they are" in said
    _, _, said = cli("condense", digits, *RANDOM, "--strategy", "color_crop_cutout_flip_scale_rotate")
    assert "irror" not in said
    _, _, said = cli("condense", "digits", *RANDOM)
    assert "irror" not in said


def test_a_folder_given_from_within_is_named_by_its_own_path(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = write(tmp_path / "pets", "cat,dog,owl")
    monkeypatch.chdir(tmp_path / "pets" / "cat")
    assert f"{pets}: 3 classes" in cli("condense", "..", *RANDOM)[2]
    assert f"{pets}: 3 classes" in cli("condense", "../../pets/dog/..@classes0-1", *RANDOM)[2]
    (tmp_path / "link").symlink_to(tmp_path / "pets" / "cat")
    given = f"{tmp_path}/link/.."  # the folder of the link's target
    assert f"{given}: 3 classes" in cli("condense", given, *RANDOM)[2]


def test_kinds_of_an_ablation_are_those_of_the_folder(cli: Cli, tmp_path: Path) -> None:
    digits = write(tmp_path / "numbers", "3,6")
    code, out, said = cli("ablate", "strategies", digits, "--ipc", "1", "--iterations", "1", "--dry-run")
    assert code == 0, said
    assert "flip" not in out + said


def test_two_folders_called_train_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    for name, classes in (("p1", "a,b"), ("p2", "c,d,e")):
        assert f"Stored {name}-random-ipc1:1" in cli("condense", write(tmp_path / name / "train", classes), *RANDOM)[1]


def test_a_version_of_other_images_is_remarked(cli: Cli, tmp_path: Path) -> None:
    first, other = write(tmp_path / "p1" / "cats", "a,b"), write(tmp_path / "p2" / "cats", "c,d,e", 1)
    assert "other images" not in cli("condense", first, *RANDOM)[2]
    assert "other images" not in cli("condense", first, *RANDOM, "--seed", "1")[2]
    _, out, said = cli("condense", other, *RANDOM)
    assert "cats-random-ipc1:3" in out
    assert (
        "cats-random-ipc1:3 is made from 9 images of 3 classes (cats), and cats-random-ipc1:2 from other images: "
        "6 images of 2 classes (cats). With --name they get different names." in said
    )
    assert "other images" not in cli("condense", first, *RANDOM)[2], "it is only looked up"


def test_a_moved_folder_is_given_by_data(cli: Cli, tmp_path: Path) -> None:
    where = Path(write(tmp_path / "here", "a,b"))
    cli("condense", str(where), *RANDOM, "--name", "moved")
    where.rename(tmp_path / "there")
    short = ("--networks", "1", "--epochs", "1")
    code, _, said = cli("evaluate", "moved", *short)
    assert code == 1
    assert "Give the folder where they are now: --data FOLDER." in said
    assert cli("evaluate", "moved", "--data", str(tmp_path / "there"), *short)[0] == 0


@pytest.mark.parametrize("command", ["condense", "evaluate"])
def test_long_reading_is_shown(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    where = write(tmp_path / "pets", "cat,dog")
    cli("condense", where, *RANDOM)
    arguments = (where, *RANDOM) if command == "condense" else ("--networks", "1", "--epochs", "1")
    assert "8 images" not in cli(command, *arguments, "--fresh")[2]
    monkeypatch.setattr(progress, "PATIENCE_SECONDS", 0.0)
    line = {"condense": "reading: 0/8 images", "evaluate": "reading the header of image 1 of 8"}[command]
    assert line in cli(command, *arguments, "--fresh")[2]
    assert line not in cli(command, *arguments, "--fresh", "-q")[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [("~no-such-user/photos", "there is no home folder for this ~"), ("", "The argument after condense is empty")],
)
def test_names_of_no_folder_get_one_line(refused: Callable[..., str], name: str, said: str) -> None:
    assert said in refused("condense", name, *RANDOM)


def test_short_classes(cli: Cli, refused: Callable[..., str], tmp_path: Path) -> None:
    root = tmp_path / "pets"
    write(root, "cat,dog")
    for index in range(2):
        (root / "dog" / f"{index}.png").unlink()
    said = refused("condense", str(root), "--ipc", "2", "--method", "random")
    assert "Class 'dog' of pets has 1 training image, fewer than --ipc 2." in said
    assert "or repeat them: dsactl condense --short-classes repeat." in said
    code, out, _ = cli("condense", str(root), "--ipc", "2", "--method", "random", "--short-classes", "repeat")
    assert (code, "4×1×8×8" in out) == (0, True)
    code, out, _ = cli("condense", str(root), "--ipc", "2", "--method", "random", "--short-classes", "all")
    assert (code, "3×1×8×8" in out) == (0, True)


def test_evaluations_on_different_test_images_are_told_apart(cli: Cli, tmp_path: Path) -> None:
    """The third test split gives the same accuracy as the second, and is a result of its own all the same."""
    roots = [tmp_path / f"copy{number}" for number in range(3)]
    for number, root in enumerate(roots):
        write(root / "train", "a,b")
        write(root / "test", "a,b", seed=1)
        if number:
            Image.fromarray(np.full((8, 8), number, np.uint8)).save(root / "test" / "a" / "4.png")
    assert cli("condense", str(roots[0]), *RANDOM, "--name", "pair")[0] == 0
    fast = ("--arch", "mlp", "--networks", "1", "--epochs", "1", "--device", "cpu")
    assert cli("evaluate", "pair", *fast, "--data", str(roots[0]))[0] == 0
    assert "test images" not in cli("show", "pair")[1]
    for root in roots[1:]:
        assert cli("evaluate", "pair", *fast, "--data", str(root))[0] == 0
    records = json.loads(cli("show", "pair", "--json")[1])["evaluations"]
    assert len({record["test_checksum"] for record in records}) == len(records) == 3
    newest = records[-1]["test_checksum"]
    for path in (tmp_path / "home" / "evaluations").rglob("*.json"):
        if newest in path.read_text():
            path.unlink()  # as if the command had been killed before the result was recorded
    assert cli("evaluate", "pair", *fast, "--data", str(roots[2]))[0] == 0
    shown = cli("show", "pair")[1]
    assert "test images" in shown
    for record in records:
        assert f"{record['test_images']} ({record['test_checksum'][:8]})" in shown
