"""TensorBoard's files, read back by TensorBoard."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sessions import Stopping, Told

import dsactl
from dsactl.runs import runner, tensorboard
from registry import extras
from registry.pictures import grid_png

Cli = Callable[..., tuple[int, str, str]]
DD: dict[str, Any] = {"ipc": 1, "method": "dd", "width": 8, "precision": "float32", "device": "cpu"}


@pytest.fixture(autouse=True)
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboard, "_SECONDS", 0.0)
    monkeypatch.setattr(runner, "EVENT_SECONDS", 0.0)


def read(folder: Path) -> Any:
    """What TensorBoard shows of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    shown.Reload()
    return shown


def steps(shown: Any, tag: str) -> list[int]:
    return [event.step for event in shown.Scalars(tag)]


def test_figures_images_and_recipe(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    plain = dsactl.condense("digits", iterations=30, **DD)
    made = dsactl.condense("digits", iterations=30, fresh=True, log_dir=logs, **DD)
    assert made.digest == plain.digest, "the log is no part of the recipe, and changes no bits"
    [folder] = logs.iterdir()
    assert folder.name == f"digits-dd-convnet-width8-ipc1-{made.recipe.digest()[:8]}"
    shown = read(folder)
    assert steps(shown, "loss") == list(range(1, 31))
    assert steps(shown, "seconds per step") == list(range(2, 31))
    assert all(event.value > 0 for event in shown.Scalars("seconds per step"))
    [run] = dsactl.list_runs()
    events = [json.loads(line) for line in (run.folder / "events.jsonl").read_text().splitlines()]
    assert [event.value for event in shown.Scalars("loss")] == pytest.approx([event["loss"] for event in events])
    images = shown.Images("images")
    assert [event.step for event in images][:2] == [1, 3]
    assert images[-1].step == 30
    assert len(images) <= tensorboard.GRIDS + 2
    assert np.array_equal(pixels(images[-1]), pixels_of(made))
    [text] = shown.Tensors("recipe/text_summary")
    said = text.tensor_proto.string_val[0].decode()
    assert json.loads(said) == made.recipe.to_dict()
    assert all(line.startswith("    ") for line in said.splitlines()), "a block of code"
    before = list(folder.iterdir())
    assert dsactl.condense("digits", iterations=30, log_dir=logs, **DD).digest == made.digest
    assert list(folder.iterdir()) == before, "a set that is looked up writes nothing"


def pixels(event: Any) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))


def pixels_of(made: dsactl.SyntheticSet) -> np.ndarray:
    """The picture of a set."""
    digits = dsactl.load_dataset("digits")
    png = grid_png(made.images.numpy(), made.labels.numpy(), digits.mean, digits.std)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_resumed_run_continues_its_log(tmp_path: Path) -> None:
    for at in (4, 7):
        with pytest.raises(KeyboardInterrupt):
            dsactl.condense("digits", iterations=9, log_dir=tmp_path, progress=Stopping(at), **DD)
    dsactl.condense("digits", iterations=9, log_dir=tmp_path, **DD)
    [folder] = tmp_path.glob("digits-*")
    assert steps(read(folder), "loss") == list(range(1, 10))
    dsactl.condense("digits", iterations=9, log_dir=tmp_path, fresh=True, **DD)
    assert steps(read(folder), "loss") == list(range(1, 10)), "the steps of the earlier run are not shown any more"


@pytest.mark.parametrize("method", ["dsa", "dm"])
def test_images_of_formation_are_decoded(tmp_path: Path, method: str) -> None:
    """Those of dsa are kept by class; the last step's are those of the set."""
    options = {"formation": 2} if method == "dm" else {}
    small: dict[str, Any] = {"ipc": 1, "width": 8, "iterations": 2, "device": "cpu", **options}
    made = dsactl.condense("digits", method=method, log_dir=tmp_path, **small)
    [folder] = tmp_path.glob("digits-*")
    shown = read(folder)
    assert len(made.images) == (40 if method == "dm" else 10)
    assert np.array_equal(pixels(shown.Images("images")[-1]), pixels_of(made))
    measured = {"dsa": "distance", "dm": "loss"}[method]
    assert sorted(shown.Tags()["scalars"]) == sorted([measured, "image norm", "gradient norm", "seconds per step"])


def test_figures_that_are_measured_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The meter is told the last ones again at each step between, which are not written again."""
    monkeypatch.setattr(runner, "EVENT_SECONDS", 1e9)  # however long the machine has run
    dsactl.condense("digits", ipc=1, width=8, iterations=4, device="cpu", log_dir=tmp_path)
    [folder] = tmp_path.glob("digits-*")
    assert steps(read(folder), "distance") == [1, 4]


def test_a_method_without_images_or_figures_writes_what_it_has(tmp_path: Path, cli: Cli) -> None:
    told = Told()
    dsactl.condense("digits", ipc=1, method="random", log_dir=tmp_path, progress=told)
    assert not list(tmp_path.glob("digits-*")), "it has no steps"
    assert f"No log in {tmp_path}: there was no step to make." in told.remarks
    code, _, err = cli(
        *("condense", "digits", "--ipc", "1", "--method", "ld", "--iterations", "3", "--width", "8"),
        *("--log-dir", str(tmp_path), "--name", "lab/ld"),
    )
    assert code == 0, err
    [folder] = tmp_path.glob("lab/ld-*")
    shown = read(folder)
    assert (shown.Tags()["scalars"], shown.Tags()["images"]) == (["loss", "seconds per step"], [])


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", full)
    told = Told()
    dsactl.condense("digits", iterations=3, log_dir=tmp_path, progress=told, **DD)
    [remark] = [each for each in told.remarks if "The log in" in each]
    assert remark.endswith("ends here: No space left on device.")
    assert max(told.seen) == 3


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_full_disk_is_said_once_and_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard writes in a thread of its own, which fails between two steps, or after the last one."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
    told = Told()
    dsactl.condense("digits", iterations=3, log_dir=tmp_path, progress=told, **DD)
    assert [each.partition(" ends here: ")[2] for each in told.remarks if "The log" in each] == [
        "No space left on device."
    ]


def test_logs_that_cannot_be_are_refused_before_the_run(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    condense = ("condense", "digits", "--ipc", "1", "--method", "random", "--log-dir")
    (tmp_path / "file").write_text("")
    assert "file is not a folder.\n  Give another folder as --log-dir." in refused(*condense, str(tmp_path / "file"))
    assert "--log-dir and --ray cannot be combined" in refused(*condense, str(tmp_path), "--ray", "auto")
    monkeypatch.setattr(extras, "is_installed", lambda package: package != "tensorboard")
    assert "pip install 'dsactl[tensorboard]'" in refused(*condense, str(tmp_path))
    with pytest.raises(dsactl.Error, match=r"`log_dir` needs the package tensorboard.*dsactl\[tensorboard\]"):
        dsactl.condense("digits", ipc=1, method="random", log_dir=tmp_path)
    assert dsactl.list_runs() == []
