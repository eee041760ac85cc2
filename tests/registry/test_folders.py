"""Folders for a process without a home folder: HOME is not set, and the user id has no name."""

import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

import registry
from dsactl.data.catalogue import data_root
from registry.folders import named_folder

Answer = tuple[int, str, str]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run the test as such a process, in an empty folder."""

    def nobody(_uid: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "DSACTL_HOME", "DSACTL_DATA"):
        monkeypatch.delenv(name, raising=False)
    for name in ("DSACTL_NATIVE", "DSACTL_COMPILE"):
        monkeypatch.setenv(name, "0")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.usefixtures("homeless")
def test_a_missing_home_folder_is_an_error_that_names_the_variable() -> None:
    for find, variable in ((registry.default_home, "DSACTL_HOME"), (data_root, "DSACTL_DATA")):
        with pytest.raises(registry.StoreError) as caught:
            find()
        assert variable in caught.value.hint
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_a_tilde_without_a_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSACTL_HOME", "~/sets")
    with pytest.raises(registry.StoreError, match="~/sets"):
        registry.default_home()


def test_a_relative_usual_folder_is_refused() -> None:
    """Older releases of platformdirs return one."""
    with pytest.raises(registry.StoreError, match="no home folder"):
        named_folder("DSACTL_NOT_SET", lambda: Path("~/.cache/dsactl"))


def test_commands_need_no_home_folder_if_the_folders_are_named(
    homeless: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Answer]
) -> None:
    condense = ("condense", "digits", "--ipc", "1", "--method", "random")
    for command in (("ls",), ("datasets",), condense):
        code, _, err = cli(*command)
        assert (code, "There is no home folder." in err, "Internal error" in err) == (1, True, False)
    code, out, _ = cli("env")
    assert code == 0
    assert "Set DSACTL_HOME" in out
    monkeypatch.setenv("DSACTL_HOME", str(homeless / "home"))
    monkeypatch.setenv("DSACTL_DATA", str(homeless / "data"))
    for command in (("ls",), ("datasets",), condense, ("env",)):
        assert cli(*command)[0] == 0
    assert list(Path.cwd().iterdir()) == []


def test_a_home_folder_of_nobody_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused("condense", "~nobody-of-this-name/images", "--ipc", "1")
    assert "~nobody-of-this-name/images: there is no home folder for this ~." in said
    assert not (tmp_path / "home").exists()
