import pytest
import torch

from dsactl.engine.processes import ALONE, Processes, Rehearsal


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
    assert torch.equal(ALONE.gather(own, 4), own)
    rehearsal = Rehearsal(member(1, 3))
    gathered = rehearsal.gather(torch.ones(len(rehearsal.share(10)), 2), 10)
    assert gathered.shape == (10, 2)
    assert gathered.sum(1).tolist() == [0, 0, 0, 2, 2, 2, 0, 0, 0, 0]
