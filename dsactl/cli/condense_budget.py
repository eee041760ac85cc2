"""The time budget of `dsactl condense`: the steps that fit, and the command that makes as many without it."""

import shlex
from collections.abc import Collection
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dsactl.cli.output import Output
from dsactl.cli.recipe_to_command import condense_command
from dsactl.data.catalogue import entry_of
from dsactl.data.paths import folder_options

if TYPE_CHECKING:
    from dsactl.engine.processes import Processes
    from dsactl.runs.budget import Choice
    from dsactl.runs.job import Job


def settle(
    job: "Job",
    seconds: float,
    sets: int,
    output: Output,
    processes: "Processes",
    *,
    given: Collection[str],
    fresh: bool,
    dry: bool,
) -> "Choice":
    """Choose the number of steps and the experts, and say what was chosen; see `dsactl.runs.budget.settle`."""
    from dsactl.engine.session import Session
    from dsactl.runs import budget

    with output.progress(str(job.name), 1, "percent") as bar:
        session = Session.open(job.device, progress=bar)
        choice = budget.settle(job, seconds, session, given=given, sets=sets, processes=processes, fresh=fresh, dry=dry)
    for said in choice.sentences(job):
        output.remark(said)
    output.remark(f"The same without a budget: {command(choice.applied(job), sets)}")
    return choice


def to_json(choice: "Choice", job: "Job", sets: int) -> dict[str, Any]:
    """Return a choice as JSON values, with the command that makes the sets of a job without the budget."""
    return {**asdict(choice), "command": command(job, sets)}


def command(job: "Job", sets: int) -> str:
    """Return the command that makes the sets of a job, with the number of steps written out."""
    from dsactl.runs.job import default_name

    recipe = job.recipe
    folder = {} if entry_of(recipe.dataset) else folder_options(job.source)
    words = [condense_command(recipe, folder, job.dataset.mirrored, job.source["name"])]
    words += ["--sets", str(sets)] if sets > 1 else []
    words += ["--name", shlex.quote(str(job.name))] if job.name != default_name(recipe) else []
    return " ".join(words)
