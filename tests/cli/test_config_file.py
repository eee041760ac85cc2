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
