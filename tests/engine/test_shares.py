import pytest
import torch

from dsactl.engine.processes import SINGLE_PROCESS, DryRunGroup, Processes, check_gpus, join
from dsactl.errors import DeviceError


def member(rank: int, count: int) -> Processes:
    made = Processes()
    made.rank, made.count = rank, count
    return made


@pytest.mark.parametrize(("classes", "count"), [(10, 1), (10, 2), (10, 3), (3, 5), (100, 8)])
def test_every_class_has_one_process(classes: int, count: int) -> None:
    shares = [member(rank, count).share(classes) for rank in range(count)]
    assert [label for share in shares for label in share] == list(range(classes))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_rehearsal_has_its_own_rows_and_no_others() -> None:
    own = torch.ones(4, 2)
    assert torch.equal(SINGLE_PROCESS.gather(own, 4), own)
    rehearsal = DryRunGroup(member(1, 3))
    gathered = rehearsal.gather(torch.ones(len(rehearsal.share(10)), 2), 10)
    assert gathered.shape == (10, 2)
    assert gathered.sum(1).tolist() == [0, 0, 0, 2, 2, 2, 0, 0, 0, 0]


def test_every_process_has_a_gpu_of_its_own_or_is_refused() -> None:
    check_gpus(torch.device("cuda"), 2, 2)
    with pytest.raises(DeviceError, match=r'`device="cuda:0"` names one GPU.* Use `device="cuda"`\.'):
        check_gpus(torch.device("cuda:0"), 2, 2)
    with pytest.raises(
        DeviceError, match=r"3 processes on this machine are too many for its 2 GPUs.*torchrun \(here 2\)"
    ):
        check_gpus(torch.device("cuda"), 3, 2)


@pytest.mark.parametrize("place", [{"LOCAL_WORLD_SIZE": "3", "LOCAL_RANK": "0"}, {"LOCAL_RANK": "2"}])
def test_too_many_processes_for_the_gpus_do_not_begin(monkeypatch: pytest.MonkeyPatch, place: dict[str, str]) -> None:
    for name, value in {"WORLD_SIZE": "3", "RANK": "0", **place}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DeviceError, match="3 processes"):
        join(torch.device("cuda"))
