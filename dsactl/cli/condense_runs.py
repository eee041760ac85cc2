"""Execution of `dsactl condense`: sequential, parallel, or as a follower of process 0; and its answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dsactl.cli import signals
from dsactl.cli.options import RunOptions
from dsactl.cli.output import Output
from dsactl.cli.stored_set import contents, picture_lines, remarks_on_name, to_json, to_train_on
from dsactl.engine.progress import NO_FIGURES, ForwardedProgress, Progress
from dsactl.engine.words import OFF
from dsactl.errors import ProcessError, RunError, UsageError, continue_hint, explain_interrupt
from dsactl.recipes.recipe import Request
from dsactl.text.formatting import duration
from registry.extras import require

if TYPE_CHECKING:
    from dsactl.engine.processes import Processes
    from dsactl.engine.tasks import Executor
    from dsactl.runs.job import Job
    from dsactl.runs.run import Outcome


def follow(
    request: Request, device: str, sets: int, processes: "Processes", *, budget: float | None, dry: bool
) -> None:
    """Work for process 0. What only this process finds wrong is reported here; process 0 reports all other errors.

    Args:
        request, device, sets, processes: of the command.
        budget: seconds for making all sets; None without a budget.
        dry: make nothing.

    Raises:
        ProcessError: a process died, or cannot prepare the run.
        typer.Exit: another error, which process 0 reports.
    """
    import registry
    from dsactl.runs import budget as budgets
    from dsactl.runs import run
    from dsactl.runs.together import prepare_together

    try:
        job = prepare_together(request, device, processes)
        if budget is not None:
            job = budgets.follow(job, budget, sets, processes).applied(job)
        for index in range(0 if dry else sets):
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


def check_log(run: RunOptions) -> None:
    """Check that TensorBoard's files can be written by this process, before torch is loaded.

    Raises:
        UsageError: workers would have to write them.
        MissingPackageError: TensorBoard is not installed.
    """
    if run.ray != OFF:
        raise UsageError(
            "--log-dir and --ray cannot be combined: workers may be on other machines.", "Leave one of them out."
        )
    require("`log_dir`", "tensorboard", "tensorboard")


def run(
    job: "Job", index: int, sets: int, output: Output, processes: "Processes", log_dir: Path | None, **how: Any
) -> "Outcome":
    """Condense one of the sets in this process and those that torchrun started with it."""
    from dsactl.engine.session import Session
    from dsactl.runs.run import execute
    from dsactl.runs.tensorboard import logged

    job = job.with_seed(index)
    title = str(job.name) if sets == 1 else f"{job.name} ({index + 1} of {sets})"
    with (
        output.progress(title, 1, "steps") as bar,
        logged(log_dir, job, Session.open(job.device, progress=bar)) as (session, watch),
    ):
        try:
            return execute(job, session, processes=processes, watch=watch, **how)
        except SystemExit:
            # The checkpoint is already written. torchrun terminates the remaining processes when one dies.
            death = processes.death()
            if death is not None:
                raise death from None
            raise


def side_by_side(
    job: "Job", sets: int, executor: "Executor", output: Output, *, fresh: bool, checkpoint_every: float | None
) -> tuple[list["Outcome"], int]:
    """Condense sets on workers, and print the errors of sets that fail.

    Returns:
        The finished sets, and the number of failed ones.

    Raises:
        KeyboardInterrupt: with a note on what is stored.
    """
    from dsactl.engine.session import Session
    from dsactl.runs.parallel import make_all

    found: dict[int, Outcome] = {}
    failed = 0
    try:
        with output.progress(str(job.name), sets, "sets") as bar:
            session = Session.open(job.device, executor=executor, progress=_UntilTerminated(bar, sets))
            wanted = [job.with_seed(index) for index in range(sets)]
            for index, outcome in make_all(wanted, session, fresh=fresh, checkpoint_every=checkpoint_every):
                if isinstance(outcome, RunError):
                    output.error(f"Set {index + 1}: {outcome.message}", outcome.hint)
                    failed += 1
                else:
                    found[index] = outcome
    except BaseException as error:
        # After a signal, Ray may have replaced the exception that was raised inside it.
        if isinstance(error, KeyboardInterrupt) or signals.exit_code() is not None:
            explain_interrupt(
                error, f"Interrupted; {len(found)} of {sets} sets are stored.", continue_hint(fresh=fresh)
            )
        raise
    return [outcome for _, outcome in sorted(found.items())], failed


class _UntilTerminated(ForwardedProgress):
    """A meter in units of sets, which ends the process after a signal."""

    def __init__(self, whole: Progress, sets: int) -> None:
        super().__init__(whole)
        self._sets = sets

    def update(self, done: float, total: float, doing: str = "", figures: Mapping[str, float] = NO_FIGURES) -> None:
        if signals.exit_code() is not None:
            raise SystemExit(signals.exit_code())
        super().update(self._sets * done / total if total else 0.0, self._sets, doing, figures)


def answer(outcomes: list["Outcome"], output: Output, budget: Mapping[str, Any] | None) -> None:
    """Print the stored sets and the next command.

    Args:
        outcomes: the sets.
        output: prints them.
        budget: what was chosen for the time budget, as JSON values, which each set's has too; None without a budget.
    """
    import registry

    values, lines = [], []
    for outcome in outcomes:
        stored = outcome.stored
        value = {**to_json(stored), "seconds": round(outcome.seconds, 3), "repeated": outcome.repeated}
        values.append(value if budget is None else {**value, "budget": budget})
        how = "Already stored:" if outcome.repeated else "Stored"
        lines.append(
            f"{how} [bold]{stored.reference}[/]  {contents(stored)}{to_train_on(stored)}, {duration(outcome.seconds)}, "
            f"@sha256:{stored.digest[:12]}"
        )
        lines += picture_lines(stored)
    output.answer(values, [outcome.stored.reference for outcome in outcomes], lines)
    if not outcomes[0].repeated:
        for remark in remarks_on_name(outcomes[0].stored, registry.Store()):
            output.remark(remark)
    output.note(f"Next: dsactl evaluate {outcomes[-1].stored.reference}")
