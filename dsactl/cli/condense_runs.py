"""Execution of `dsactl condense`: sequential, parallel, or as a follower of process 0; and its answer."""

import contextlib
from typing import TYPE_CHECKING, Any

import typer

from dsactl.cli import signals
from dsactl.cli.formatting import duration
from dsactl.cli.output import Output
from dsactl.cli.stored_set import picture_lines, to_json
from dsactl.errors import InterruptedRunError, ProcessError, RunError
from dsactl.recipes.recipe import Request

if TYPE_CHECKING:
    from dsactl.engine.processes import Processes
    from dsactl.engine.tasks import Executor
    from dsactl.runs.job import Job
    from dsactl.runs.progress import Progress
    from dsactl.runs.run import Outcome


def follow(request: Request, device: str, sets: int, processes: "Processes") -> None:
    """Work for process 0. Only the death of a process is reported here; process 0 reports all other errors.

    Raises:
        ProcessError: a process died.
        typer.Exit: another error, which process 0 reports.
    """
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
    """Condense one of the sets in this process and those that torchrun started with it.

    Raises:
        InterruptedRunError: on Ctrl-C; the message states the progress.
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
            # The checkpoint is already written. torchrun terminates the remaining processes when one dies.
            death = processes.death()
            if death is not None:
                raise death from None
            _note_end(f"Terminated. {again} continues from the last step.", output)
            raise
        except KeyboardInterrupt:
            if not has_checkpoint(store, job.recipe):
                raise InterruptedRunError("Interrupted before the first step; no checkpoint was written.") from None
            where = f"at step {last.done} of {last.total}" if last else ""
            raise InterruptedRunError(
                f"Interrupted {where}; the checkpoint was written.",
                f"{again} continues from there.",
            ) from None


def side_by_side(
    job: "Job", sets: int, who: "Executor", output: Output, *, fresh: bool, checkpoint_every: float | None
) -> tuple[list["Outcome"], int]:
    """Condense sets on workers, and print the errors of sets that fail.

    Returns:
        The finished sets, and the number of failed ones.

    Raises:
        InterruptedRunError: on Ctrl-C; the message states the progress.
    """
    import registry
    from dsactl.runs.parallel import make_all

    found: dict[int, Outcome] = {}
    failed = 0
    try:
        with output.progress(str(job.name), sets, "sets") as bar:

            def report(share: float, doing: str) -> None:
                if signals.exit_code() is not None:
                    raise SystemExit(signals.exit_code())
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
        if signals.exit_code() is not None:  # Ray may have replaced the exception that was raised inside it
            _note_end(f"Terminated; {stored} {_again(fresh=fresh)} continues from there.", output)
            raise SystemExit(signals.exit_code()) from None
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedRunError(
                f"Interrupted; {stored}", f"{_again(fresh=fresh)} continues from there."
            ) from None
        raise
    return [outcome for _, outcome in sorted(found.items())], failed


def _note_end(text: str, output: Output) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        output.note(text)


def _again(*, fresh: bool) -> str:
    """Return how to refer to the command that resumes the run."""
    return "The same command without --fresh" if fresh else "The same command"


def answer(outcomes: list["Outcome"], output: Output) -> None:
    """Print the stored sets and the next command."""
    values, lines = [], []
    for outcome in outcomes:
        stored = outcome.stored
        values.append({**to_json(stored), "seconds": round(outcome.seconds, 3), "repeated": outcome.repeated})
        images = "×".join(map(str, stored.manifest.tensors["images"].shape))
        how = "Already stored:" if outcome.repeated else "Stored"
        lines.append(
            f"{how} [bold]{stored.reference}[/]  {images}, {duration(outcome.seconds)}, @sha256:{stored.digest[:12]}"
        )
        lines += picture_lines(stored)
    output.answer(values, [outcome.stored.reference for outcome in outcomes], lines)
    output.note(f"Next: dsactl evaluate {outcomes[-1].stored.reference}")
