"""Sessions: their defaults, and those of parts of the work."""

from pathlib import Path

import pytest
import torch
from sessions import Told

import registry
from dsactl.engine.device import resolve_device
from dsactl.engine.progress import Progress
from dsactl.engine.session import Session
from dsactl.engine.tasks import LocalExecutor
from dsactl.errors import DeviceError


class Executors(LocalExecutor):
    """An executor of one's own."""


def test_what_is_not_given_is_the_usual() -> None:
    session = Session.open()
    assert session.store.home == registry.Store().home
    assert session.device == resolve_device("auto")
    assert type(session.executor) is LocalExecutor
    assert type(session.progress) is Progress


def test_what_is_given_is_kept(tmp_path: Path) -> None:
    store, executor, told = registry.Store(tmp_path / "mine"), Executors(), Told()
    session = Session.open("cpu", store, executor, told)
    assert (session.store, session.executor, session.progress) == (store, executor, told)
    assert session.device == torch.device("cpu")
    assert Session.open(torch.device("cpu")).device == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "cuda:99", ""])
def test_a_device_that_is_not_here_is_refused(name: str) -> None:
    with pytest.raises(DeviceError):
        Session.open(name)


def test_a_part_has_a_meter_of_its_own_and_everything_else_in_common() -> None:
    told = Told()
    session = Session.open("cpu", executor=Executors(), progress=told)
    part = session.part(1, 2, 4, "second").part(1, 1, 2, "set 2")
    part.progress.update(1, 2, "learning")
    part.progress.fail("It failed.", "Try again.")
    part.progress.remark("By the way.")
    assert told.updates == [(2.5, 4, "second: set 2: learning", {})]
    assert (told.failures, told.remarks) == ([("It failed.", "Try again.")], ["By the way."])
    assert (part.store, part.device, part.executor) == (session.store, session.device, session.executor)
    assert session.progress is told
