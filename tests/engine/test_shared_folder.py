"""A shared folder is recognised by its marker file, not by its path."""

import shutil
from pathlib import Path

from dsactl.engine.shared_folder import SharedFolder, offer


def test_the_folder_itself_and_no_other_at_its_path(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "checkpoint").write_text("some work")
    offered = offer(folder)
    assert offer(folder) == offered, "for every task the same"
    with offered.use() as place:
        assert place == folder
    shutil.copytree(folder, tmp_path / "copy")
    shutil.rmtree(folder)
    elsewhere = _used(offered)
    (tmp_path / "copy").rename(folder)
    for place in (elsewhere, _used(offered)):
        assert place != folder
        assert not place.exists(), "it is removed in the end"
    assert (folder / "checkpoint").read_text() == "some work"


def _used(offered: SharedFolder) -> Path:
    with offered.use() as place:
        assert list(place.iterdir()) == []
        (place / "something").touch()
    return place
