"""`--install-completion` and `--show-completion`, from any shell."""

from collections.abc import Callable
from pathlib import Path

import pytest
from typer import _completion_shared

Cli = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("shell", "written"),
    [("bash", ".bashrc"), ("zsh", ".zfunc/_dsactl"), ("fish", ".config/fish/completions/dsactl.fish")],
)
def test_a_shell_that_is_named_needs_not_be_the_own_one(
    shell: str, written: str, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(_completion_shared, "_get_shell_name", lambda: "sh")
    code, out, err = cli("--install-completion", shell)
    assert (code, err) == (0, "")
    assert f"Installed completion for {shell}" in out
    assert "dsactl" in (tmp_path / written).read_text()
    code, out, _ = cli("--show-completion", shell)
    assert (code, "_DSACTL_COMPLETE" in out) == (0, True)


def test_zsh_answers_the_first_tab(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zsh loads the script as the body of the function `_dsactl` and calls that."""
    monkeypatch.setenv("HOME", str(tmp_path))
    cli("--install-completion", "zsh")
    installed = (tmp_path / ".zfunc" / "_dsactl").read_text()
    assert installed.splitlines()[0] == "#compdef dsactl"
    assert installed.splitlines()[-1] == "[[ $funcstack[1] == _dsactl ]] && _dsactl_completion"
    assert cli("--show-completion", "zsh")[1].strip() == installed.strip()


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
@pytest.mark.parametrize("own", ["sh", None])
def test_a_shell_without_completion_is_refused(
    option: str, own: str | None, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_completion_shared, "_get_shell_name", lambda: own)
    assert f"dsactl {option} bash" in refused(option)
    assert "the shell csh" in refused(option, "csh")
    assert f"{option} takes the name of one shell, not 2 words" in refused(option, "bash", "extra")


def test_a_home_folder_that_cannot_be_written_is_named(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    said = refused("--install-completion", "bash")
    assert str(tmp_path / "file") in said
    assert "dsactl --show-completion bash" in said
