"""How `dsactl condense` has sets made: one after the other, side by side, or for another process; and its answer."""

import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from dsactl.cli.formatting import duration
from dsactl.cli.output import Output
from dsactl.cli.stored_set import picture_lines, to_json
from dsactl.errors import InterruptedRunError, ProcessError, RunError
from dsactl.recipes.recipe import Request

if TYPE_CHECKING:
    from dsactl.engine.processes import Processes
    from dsactl.engine.tasks import Workers
    from dsactl.runs.job import Job
    from dsactl.runs.progress import Progress
    from dsactl.runs.run import Outcome


_TERMINATED = 128 + signal.SIGTERM
_termination = threading.Event()


def terminated(_signal: int, _frame: FrameType | None) -> None:
    """End on SIGTERM by way of all that tidies up."""
    _termination.set()
    raise SystemExit(_TERMINATED)


def follow(request: Request, device: str, sets: int, processes: "Processes") -> None:
    """Work for process 0, and say who died if nobody else is there to say it. Other errors are process 0's to tell."""
    import registry
    from dsactl.runs import run
    from dsactl.runs.job import prepare

    try:
        job = prepare(request, device)
        for index in range(sets):
            run.follow(job.with_seed(index), processes)
    except ProcessError:
        raise
    except registry.Error:
        raise typer.Exit(1) from None
    except SystemExit:
        death = processes.death()
        if death is not None:
            raise death from None
        raise


def run(job: "Job", index: int, sets: int, output: Output, processes: "Processes", **how: Any) -> "Outcome":
    """Make one of the sets in this process, and those that torchrun started with it.

    Raises:
        InterruptedRunError: on Ctrl-C, with how far it is.
    """
    import registry
    from dsactl.runs.run import execute, has_checkpoint

    job, store = job.with_seed(index), registry.Store()
    title = str(job.name) if sets == 1 else f"{job.name} ({index + 1} of {sets})"
    last = None
    with output.progress(title, 1, "steps") as bar:

        def report(progress: "Progress") -> None:
            nonlocal last
            last = progress
            bar.update(progress.done, str(progress), total=progress.total)

        again = _again(fresh=how["fresh"])
        try:
            return execute(job, store, processes=processes, report=report, **how)
        except SystemExit:
            # The checkpoint was written on the way here. torchrun terminates whom another's death leaves behind.
            death = processes.death()
            if death is not None:
                raise death from None
            output.note(f"Terminated. {again} goes on from the last step.")
            raise
        except KeyboardInterrupt:
            if not has_checkpoint(store, job.recipe):
                raise InterruptedRunError("Interrupted before the first step; there is nothing to keep.") from None
            where = f"at step {last.done} of {last.total}" if last else ""
            raise InterruptedRunError(
                f"Interrupted {where}; the checkpoint is written.",
                f"{again} goes on from there.",
            ) from None


def side_by_side(
    job: "Job", sets: int, who: "Workers", output: Output, *, fresh: bool, checkpoint_every: float | None
) -> tuple[list["Outcome"], int]:
    """Have sets made by workers; those that are made, and how many failed, which are named.

    Raises:
        InterruptedRunError: on Ctrl-C, with how far it is.
    """
    import registry
    from dsactl.runs.parallel import make_all

    found: dict[int, Outcome] = {}
    failed = 0
    try:
        with output.progress(str(job.name), sets, "sets") as bar:

            def report(share: float, doing: str) -> None:
                if _termination.is_set():
                    raise SystemExit(_TERMINATED)
                bar.update(sets * share, doing)

            wanted, how = [job.with_seed(index) for index in range(sets)], (registry.Store(), who, report)
            for index, outcome in make_all(wanted, *how, fresh=fresh, checkpoint_every=checkpoint_every):
                if isinstance(outcome, RunError):
                    output.error(f"Set {index + 1}: {outcome.message}", outcome.hint)
                    failed += 1
                else:
                    found[index] = outcome
    except BaseException as error:
        stored = f"{len(found)} of {sets} sets are stored."
        if _termination.is_set():  # whatever Ray makes of the exception that was raised while it was at work
            output.note(f"Terminated; {stored} {_again(fresh=fresh)} goes on from there.")
            raise SystemExit(_TERMINATED) from None
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRunError(f"Interrupted; {stored}", f"{_again(fresh=fresh)} goes on from there.") from None
        raise
    return [outcome for _, outcome in sorted(found.items())], failed


def _again(*, fresh: bool) -> str:
    """The command that goes on with what was begun."""
    return "The same command without --fresh" if fresh else "The same command"


def answer(outcomes: list["Outcome"], output: Output) -> None:
    """Say which sets there are, and what to do next."""
    values, lines = [], []
    for outcome in outcomes:
        stored = outcome.stored
        values.append({**to_json(stored), "seconds": round(outcome.seconds, 3), "repeated": outcome.repeated})
        images = "×".join(map(str, stored.manifest.tensors["images"].shape))
        how = "Already made:" if outcome.repeated else "Stored"
        lines.append(
            f"{how} [bold]{stored.reference}[/]  {images}, {duration(outcome.seconds)}, @sha256:{stored.digest[:12]}"
        )
        lines += picture_lines(stored)
    output.answer(values, [outcome.stored.reference for outcome in outcomes], lines)
    output.note(f"Next: dsactl evaluate {outcomes[-1].stored.reference}")
