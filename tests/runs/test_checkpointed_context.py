"""The tensors of a resumed run, on the device "meta", which stands in for a GPU: what is on it has no values."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from dsactl.engine.checkpoint import read_checkpoint, save_checkpoint
from dsactl.engine.mode import Mode
from dsactl.engine.processes import SINGLE_PROCESS
from dsactl.engine.progress import Progress
from dsactl.engine.run_files import CHECKPOINT
from dsactl.recipes.recipe import Request
from dsactl.runs.job import Job, prepare
from dsactl.runs.runner import CheckpointedContext

META, CPU = torch.device("meta"), torch.device("cpu")
KEPT = {"images": torch.tensor([0.5, 1.5]), "done": torch.tensor(3)}
ABOUT = {"done": 3, "seconds": 1.0, "environments": []}


def job(device: torch.device) -> Job:
    made = prepare(Request.parse({"dataset": "digits", "ipc": 1, "method": "random"}), "cpu")
    return replace(made, dataset=made.dataset.to(device), device=device)


def resumed(folder: Path, device: torch.device) -> CheckpointedContext:
    save_checkpoint(folder / CHECKPOINT, KEPT, {**ABOUT, "mode": Mode(device.type).to_dict()})
    return CheckpointedContext(folder, job(device), Progress(), None, SINGLE_PROCESS, 0.0, lambda done, tensors: None)


def saved(folder: Path) -> dict[str, Tensor]:
    return read_checkpoint((folder / CHECKPOINT).read_bytes(), folder / CHECKPOINT, CPU)[0]


def test_what_is_resumed_is_on_the_device_once(tmp_path: Path) -> None:
    work = resumed(tmp_path, META)
    assert {name: tensor.device for name, tensor in work.resume().items()} == dict.fromkeys(KEPT, META)
    (tmp_path / CHECKPOINT).unlink()
    work.save()  # as an interruption before the first step does; a tensor on the device could not be written
    assert all(torch.equal(tensor, KEPT[name]) for name, tensor in saved(tmp_path).items())


def test_what_is_resumed_may_be_changed_in_place(tmp_path: Path) -> None:
    work = resumed(tmp_path, CPU)
    for _ in range(2):
        state = work.resume()
        assert {name: tensor.tolist() for name, tensor in state.items()} == {"images": [0.5, 1.5], "done": 3}
        state["images"].zero_()
    work.save()
    assert torch.equal(saved(tmp_path)["images"], KEPT["images"])
