"""Files of options, as the editors and shells of different systems write them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Answer = tuple[int, str, str]
LINES = "# größe\nipc = 2\nmethod = 'random'\nimage-size = 8\n"


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_and_line_ends_of_windows_are_read(
    cli: Callable[..., Answer], tmp_path: Path, encoding: str, ends: str
) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes("# größe\nipc = 2\nmethod = 'random'\n".replace("\n", ends).encode(encoding))
    code, out, err = cli("condense", "digits", "--config", str(file), "--json")
    assert code == 0, err
    assert json.loads(out)[0]["reference"] == "digits-random-ipc2:1"


@pytest.mark.parametrize(
    ("encoding", "said"),
    [
        ("utf-16", "is in UTF-16"),
        ("utf-16-le", "is in UTF-16"),
        ("utf-16-be", "is in UTF-16"),
        ("latin-1", "is not in UTF-8 (line 1)"),
    ],
)
def test_other_encodings_are_named(refused: Callable[..., str], tmp_path: Path, encoding: str, said: str) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(LINES.encode(encoding))
    message = refused("condense", "digits", "--config", str(file))
    assert said in message
    assert "as UTF-8" in message
    assert "codec" not in message


def test_files_that_cannot_be_read(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "No such file" in refused("condense", "digits", "--config", str(tmp_path / "nothing"))
    assert "Is a directory" in refused("condense", "digits", "--config", str(tmp_path))


@pytest.mark.parametrize("text", ["\0ipc = 2", "i\0\0\0pc = 2\n", "ipc = 2\n\0", "\0\0\0\0"])
def test_nul_characters_are_not_called_utf_16(refused: Callable[..., str], tmp_path: Path, text: str) -> None:
    file = tmp_path / "file.toml"
    file.write_bytes(text.encode())
    message = refused("condense", "digits", "--config", str(file))
    assert "file.toml is not TOML" in message
    assert "UTF-16" not in message


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("image-lr = 'x'", "image_lr", "input should be a valid number"),
        ("iterations = 0", "iterations", "greater than or equal to 1, not 0"),
        ("seed = true", "seed", "must be a number or a word"),
        ("method = 'dsaa'", "method", "Unknown method 'dsaa'"),
        ("strategy = 'color_corp'", "strategy", "'corp'"),
        ("arch = 'convnot'", "arch", "'convnot'"),
        ("name = 'A B'", "name", "is not a name"),
        ("iteration = 5", "iteration", "Unknown option 'iteration'"),
        ("method = 'herding'\n[options]\nepochs = 0", "epochs", "must be at least 1, not 0"),
    ],
)
def test_a_wrong_value_is_found_by_file_and_key(
    refused: Callable[..., str], tmp_path: Path, line: str, key: str, said: str
) -> None:
    file = tmp_path / "file.toml"
    file.write_text(line)
    message = refused("condense", "digits", "--ipc", "1", "--config", str(file)).splitlines()[0]
    assert message.startswith(f"Error: {file}, {key}: ")
    assert said in message


@pytest.mark.parametrize(
    ("line", "key", "said"),
    [
        ("formation = 3", "formation", "--formation 3 does not divide images of 8×8"),
        ("ipc = 900\nmethod = 'random'", "ipc", "fewer than --ipc 900"),
    ],
)
def test_a_value_that_does_not_fit_the_images_is_found_by_file_and_key(
    refused: Callable[..., str], tmp_path: Path, line: str, key: str, said: str
) -> None:
    file = tmp_path / "file.toml"
    file.write_text(line)
    ipc = [] if key == "ipc" else ["--ipc", "1"]
    message = refused("condense", "digits", *ipc, "--config", str(file)).splitlines()[0]
    assert message.startswith(f"Error: {file}, {key}: ")
    assert said in message


def test_a_wrong_option_beside_a_file_is_not_looked_for_in_it(refused: Callable[..., str], tmp_path: Path) -> None:
    file = tmp_path / "file.toml"
    file.write_text("iterations = 0\n")
    message = refused("condense", "digits", "--ipc", "1", "--config", str(file), "--iterations", "0")
    assert "--iterations" in message
    assert "file.toml" not in message
