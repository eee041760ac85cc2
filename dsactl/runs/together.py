"""The preparation of a job in every process of a run: all have the same pool, and one of them tells what is wrong."""

import json

import torch

import registry
from dsactl.engine.processes import Processes
from dsactl.engine.progress import NO_PROGRESS, Progress
from dsactl.errors import ProcessError, UsageError
from dsactl.expert_pools.named import names_pool, with_digest
from dsactl.recipes.recipe import Request
from dsactl.runs.job import Job, prepare

_REFUSED = b"refused"


def prepare_together(
    request: Request, device: str | torch.device, processes: Processes, progress: Progress = NO_PROGRESS
) -> Job:
    """Prepare a job in every process; only process 0 reads the store, which the others need not have.

    Args:
        request, device, progress: see `prepare`.
        processes: that each call this function.

    Raises:
        Error: process 0 cannot prepare the job; see `prepare`.
        ProcessError: another process cannot; the first of those reports why, and the others nothing.
    """
    found: Job | registry.Error
    try:
        request = _share_pool(request, processes)
        found = prepare(request, device, progress=progress, experts_checked=processes.rank > 0)
    except ProcessError:
        raise
    except registry.Error as error:
        found = error
    first = processes.first_failed(isinstance(found, registry.Error))
    if first is None:
        assert isinstance(found, Job)
        return found
    if first != processes.rank or not isinstance(found, registry.Error):
        raise ProcessError(f"Process {first} cannot prepare the run.", "See its own message.", mine=False)
    if first > 0:
        count = processes.count
        raise ProcessError(f"Process {first} of the {count} (counted from 0): {found.message}", found.hint) from found
    raise found


def _share_pool(request: Request, processes: Processes) -> Request:
    """Return the request with the digest of the pool that it names, as process 0 finds it; see `with_digest`.

    Raises:
        UsageError: process 0 refuses the pool, and says why.
    """
    if processes.count == 1 or not names_pool(request):
        return request
    data = b""
    if processes.rank == 0:
        try:
            found = with_digest(request).settings
        except registry.Error:
            processes.broadcast(_REFUSED)
            raise
        data = json.dumps(
            {name: value for name, value in found.items() if request.settings.get(name) != value}
        ).encode()
    data = processes.broadcast(data)
    if data == _REFUSED:
        raise UsageError("Process 0 refused the pool of experts.", "See its own message for the reason.")
    return request.varied(**json.loads(data))
