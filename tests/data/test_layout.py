"""The layout of image folders: splits, classes and their order, names; and folders read by the rules of dsactl 0.1."""

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dsactl
import registry
from dsactl.data import layout
from dsactl.data.catalogue import keeps_mirrored
from dsactl.data.folder import load_folder
from dsactl.data.layout import folder_name, mirrors
from dsactl.data.load import load_again, load_dataset
from dsactl.errors import DataError, UsageError


def write(root: Path, classes: str, count: int = 3, first: int = 0) -> Path:
    """Write small noisy images of some classes; no two are the same, except for the same number of a class."""
    for label, name in enumerate(classes.split(",")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(first, first + count):
            noise = np.random.default_rng([label, index]).integers(0, 256, (6, 5), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{index}.png")
    return root


@pytest.mark.parametrize("classes", ["airplane,bus,train", "other,test", "test,train", "Val,dev,train"])
def test_a_class_may_have_the_name_of_a_split(tmp_path: Path, classes: str) -> None:
    root = write(tmp_path / "set", classes)
    assert load_folder(root).class_names == tuple(classes.split(","))
    write(root / classes.rpartition(",")[2], "more")  # a sub-folder of a class is skipped, whatever that is called
    found = load_folder(root)
    assert found.class_names == tuple(classes.split(","))
    assert "Skipped: 1 sub-folder." in found.remark


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "VAL", "Validation"])
def test_a_validation_split_serves_as_test_split(tmp_path: Path, name: str) -> None:
    root = write(tmp_path / "set" / "train", "a,b").parent
    write(root / name, "a,b", 2, first=9)
    found = load_folder(root)
    assert (found.train.counts, found.test.counts) == ((3, 3), (2, 2))
    assert f"{name} is taken as the test split." in found.remark
    with pytest.raises(UsageError, match=f"has a {name} folder of its own"):
        load_folder(root, test_fraction=0.5)


def test_a_validation_split_beside_a_test_split_is_not_used(tmp_path: Path) -> None:
    root = write(tmp_path / "set" / "train", "a,b").parent
    write(root / "val", "a,b", 2, first=5)
    write(root / "dev", "a,b", 2, first=5)
    write(root / "test", "a,b", 1, first=9)
    found = load_folder(root)
    assert found.test.counts == (1, 1)
    assert "dev and val are not used, since there is a test folder." in found.remark


def test_other_folders_of_classes_beside_the_splits_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set" / "train", "a,b").parent
    write(root / "test", "a,b", 1, first=9)
    write(root / "extra", "a,b")
    assert "extra is not used, since there is a test folder." in load_folder(root).remark


def test_a_class_that_is_a_broken_link_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a,b")
    (root / "c").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="c is a link to a folder that does not exist"):
        load_folder(root)


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_class_that_is_a_link_back_is_refused(tmp_path: Path, target: str) -> None:
    root = write(tmp_path / "more" / "set", "a,b")
    (root / "self").symlink_to(target)
    with pytest.raises(DataError, match="self is a link to a folder that it is in") as raised:
        load_folder(root)
    assert raised.value.hint == "Remove the link."


def test_splits_one_folder_further_down_are_named(tmp_path: Path) -> None:
    root = write(tmp_path / "archive" / "set" / "train", "a,b").parent
    write(root / "test", "a,b", 1, first=9)
    with pytest.raises(DataError, match="has no class folders") as raised:
        load_folder(root.parent)
    assert raised.value.hint == f"Did you mean {root}?"


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("TRAIN", "test"), ("Training", "Testing")])
def test_splits_in_any_case(tmp_path: Path, train: str, test: str) -> None:
    root = write(tmp_path / "set" / train, "a,b").parent
    write(root / test, "a,b", 1, first=9)
    found = load_folder(root)
    assert (found.train.counts, found.test.counts) == ((3, 3), (1, 1))


def test_what_cannot_be_split_is_named(tmp_path: Path) -> None:
    root = write(tmp_path / "set" / "Train", "a,b").parent
    write(root / "holdout", "a,b")
    with pytest.raises(DataError, match="has a Train folder and no test folder") as raised:
        load_folder(root)
    assert "rename holdout to test" in raised.value.hint
    write(root / "val", "a,b")
    write(root / "valid", "a,b")
    with pytest.raises(DataError, match="several validation folders: val and valid"):
        load_folder(root)


def test_numbers_are_in_numerical_order(tmp_path: Path) -> None:
    root = write(tmp_path / "set", ",".join(map(str, range(12))))
    assert load_folder(root).class_names == tuple(map(str, range(12)))
    assert load_dataset(f"{root}@classes0-2").class_names == ("0", "1", "2")
    write(root, "b")
    assert load_folder(root).class_names == (*sorted(map(str, range(12))), "b")


def test_train_and_test_are_matched_by_name_in_numerical_order(tmp_path: Path) -> None:
    root = write(tmp_path / "set" / "train", "2,10,1").parent
    write(root / "test", "10,1,2", 1, first=9)
    found = load_folder(root)
    assert found.class_names == ("1", "2", "10")
    read = {name: found.test.images_NCHW[label, 0].numpy() for label, name in enumerate(found.class_names)}
    for name, pixels in read.items():
        assert (pixels == np.asarray(Image.open(root / "test" / name / "9.png"))).all()


def test_accents_written_in_two_ways_are_the_same_class(tmp_path: Path) -> None:
    composed, split = (unicodedata.normalize(form, "pâté") for form in ("NFC", "NFD"))
    root = write(tmp_path / "set" / "train", f"a,{composed}").parent
    write(root / "test", f"a,{split}", 1, first=9)
    found = load_folder(root)
    assert (found.class_names, found.test.counts) == (("a", composed), (1, 1))


def test_folders_of_systems_are_no_classes(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a,b")
    write(root / "__MACOSX", "a,b")
    (root / "@eaDir").mkdir()
    assert load_folder(root).class_names == ("a", "b")


def test_hidden_folders_with_images_are_said_to_be_left_out(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a,b,.a,..b,.c/deeper")
    (root / ".git").mkdir()
    (root / ".git" / "HEAD").touch()
    said = "Left out, since names that begin with a dot are hidden: ..b, .a. Rename what is a class."
    found = load_folder(root)
    assert found.class_names == ("a", "b")
    assert found.remark.count(said) == 1
    split = write(tmp_path / "split" / "train", "a,b,.a").parent
    write(split / "test", "a,b,.a,.d", 1, first=9)
    assert "are hidden: .a, .d. Rename" in load_folder(split).remark
    for classes in ("a,.a,..b", ".a,..b"):
        with pytest.raises(DataError) as refused:
            load_folder(write(tmp_path / classes, classes))
        assert refused.value.hint.endswith(said)
    assert "Left out" not in load_folder(write(tmp_path / "plain", "a,b")).remark


def test_what_lies_about_is_counted(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a,b")
    shutil.copy(root / "a" / "0.png", root / "stray.png")
    assert "Skipped: 1 image outside of class folders." in load_folder(root).remark
    (root / "c").mkdir()
    for name in ("0.heic", "1.heic", "list.csv"):
        (root / "c" / name).write_text("")
    with pytest.raises(DataError, match="c has no images") as raised:
        load_folder(root)
    assert raised.value.hint.endswith("It has 2 .heic, 1 .csv.")


def test_a_name_of_two_lines_is_said_in_one(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a\nb,c")
    with pytest.raises(DataError, match="has a name that cannot be stored") as raised:
        load_folder(root)
    assert "\n" not in raised.value.message


def test_a_file_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos.zip").write_text("")
    monkeypatch.chdir(tmp_path)
    for name in ("photos.zip", str(tmp_path / "photos.zip")):
        with pytest.raises(DataError, match=r"photos\.zip is not a folder"):
            load_dataset(name)


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "set", "a,b")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(layout.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"set cannot be read: Permission denied"):
        load_folder(root)


@pytest.mark.parametrize(
    ("names", "kept"), [("0123456789", False), ("abz", False), ("XY", False), ("猫犬", True), ("a?", True)]
)
def test_digits_and_letters_are_not_mirrored(names: str, kept: bool) -> None:
    assert keeps_mirrored(names) == kept
    assert keeps_mirrored([*names, "cat"])
    assert keeps_mirrored(map(str, range(11)))


def test_a_folder_is_mirrored_by_its_classes(tmp_path: Path) -> None:
    for classes, kept in (("0,1", False), ("cat,dog", True)):
        root = write(tmp_path / classes, classes)
        assert load_folder(root).mirrored == mirrors(str(root)) == mirrors(f"{root}@3x8x8") == kept
    assert (mirrors("mnist"), mirrors("cifar10@classes0-1")) == (False, True)


def test_a_generic_name_gives_way_to_the_parent_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_name(tmp_path / "pets" / "train") == "pets"
    assert folder_name(tmp_path / "pets" / "Data" / "images") == "pets"
    assert folder_name(tmp_path / "pets" / "photos") == "photos"
    assert folder_name(Path("/data/train")) == "train"
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    assert folder_name(tmp_path / "alice" / "data") == "data"


def test_names_in_other_scripts_are_told_apart(tmp_path: Path) -> None:
    assert folder_name(tmp_path / "Ünï") == "uni"
    cats, dogs = folder_name(tmp_path / "猫"), folder_name(tmp_path / "犬")
    assert cats != dogs
    for name in (cats, dogs, folder_name(tmp_path / ("猫" * 60)), folder_name(tmp_path / ("é猫" * 60))):
        assert len(name) <= 40
        assert registry.parse_name(name).name == name


def of_before(monkeypatch: pytest.MonkeyPatch, root: Path, name: str, **how: object) -> dsactl.SyntheticSet:
    """Condense a folder as dsactl 0.1 read it."""
    before = load_folder(root, as_before=True)
    with monkeypatch.context() as patched:
        patched.setattr("dsactl.runs.job.load_dataset", lambda **source: before)
        return dsactl.condense(str(root), ipc=1, method="random", name=name, **how)


def test_a_set_in_alphabetical_order_is_evaluated_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "set", ",".join(map(str, range(12))))
    made = of_before(monkeypatch, root, "earlier")
    assert made.class_names == tuple(sorted(map(str, range(12))))
    again = load_again(str(root), made.recipe.checksum)
    assert again.class_names == made.class_names
    for label, name in enumerate(again.class_names):
        pixels = {np.asarray(Image.open(file)).tobytes() for file in (root / name).iterdir()}
        assert {
            again.test.images_NCHW[label].numpy().tobytes(),
            again.train.images_NCHW[2 * label].numpy().tobytes(),
        } <= pixels
    assert load_again(str(root), "another").class_names == tuple(map(str, range(12)))
    short = {"networks": 1, "epochs": 1, "network": dsactl.NetworkSpec("mlp")}
    assert dsactl.evaluate("earlier", **short).test_images == 12
    moved = shutil.move(root, tmp_path / "moved")
    assert dsactl.evaluate("earlier", data=moved, **short).repeated


def test_files_that_were_skipped_before_do_not_spoil_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write(tmp_path / "set", "a,b")
    (root / "a" / "broken.tga").write_text("was never looked at")
    made = of_before(monkeypatch, root, "earlier")
    with pytest.raises(DataError, match=r"broken\.tga"):
        load_folder(root)
    short = {"networks": 1, "epochs": 1, "network": dsactl.NetworkSpec("mlp")}
    assert dsactl.evaluate(made, **short).test_images == 2


def test_the_message_for_a_moved_folder_names_data(tmp_path: Path) -> None:
    root = write(tmp_path / "set", "a,b,c")
    dsactl.condense(str(root), ipc=1, method="random", name="moved")
    dsactl.condense(f"{root}@classes0-1", ipc=1, method="random", name="part")
    shutil.move(root, tmp_path / "there")
    with pytest.raises(DataError, match=r"were read from .*set, which is not a folder any more") as raised:
        dsactl.evaluate("moved")
    assert "`data=FOLDER`" in raised.value.hint
    with pytest.raises(DataError) as raised:
        dsactl.evaluate("part")
    assert "`data=FOLDER`, followed by @classes0-1" in raised.value.hint
    short = {"networks": 1, "epochs": 1, "network": dsactl.NetworkSpec("mlp")}
    assert dsactl.evaluate("moved", data=tmp_path / "there", **short).test_images == 3
    assert dsactl.evaluate("part", data=f"{tmp_path / 'there'}@classes0-1", **short).test_images == 2
