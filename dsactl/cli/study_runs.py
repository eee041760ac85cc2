"""Shared parts of the experiment commands: run a study and print its result, or estimate its cost."""

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from rich.markup import escape

from dsactl.cli import downloads
from dsactl.cli.output import Output
from dsactl.cli.study_options import StudyOptions
from dsactl.errors import RunError, UsageError
from dsactl.studies.study import Study
from dsactl.text.formatting import duration, many

if TYPE_CHECKING:
    from dsactl.studies.clock.study import Clock
    from dsactl.studies.costs import Cost
    from dsactl.studies.entries import Entry


def run(study: Study, options: StudyOptions, output: Output, unit: str, title: str = "") -> None:
    """Run a study, and print its tables, its remarks and the paths of its files.

    Args:
        study: see `Study`.
        options: where tasks run, and where the results go.
        output: destination of the answer and the progress.
        unit: of the progress, see `Output.progress`.
        title: of the progress; empty for the command's name.

    Raises:
        RunError: a part failed.
    """
    study.require_packages()

    from dsactl.engine.on_ray import open_executor
    from dsactl.engine.session import Session

    with (
        contextlib.closing(open_executor(options.ray, options.device, options.gpu_share)) as executor,
        output.progress(title or study.command, 1, unit) as bar,
    ):
        session = Session.open(options.device, executor=executor, progress=bar)
        session.store.check_writable()
        result = study.run(session, options.out)
    tables = [part for heading, table in result.tables for part in ("", heading, table)]
    folder = str(result.folder)
    pictures = [f"Pictures in {escape(folder)}"] if result.files else []
    output.answer(result.values, [folder], tables[1:] or pictures)
    for remark in result.remarks:
        output.remark(remark)
    if result.files:
        output.note(f"Written to {escape(folder)}: {escape(', '.join(result.files))}")
    if result.failed:
        raise RunError(
            f"{result.failed} failed (see above); results that depend on them are missing.",
            "The same command retries them; all others are kept.",
        )


def dry_run(
    entries: Sequence["Entry"],
    sets: int,
    device: str,
    output: Output,
    *,
    tested: bool = True,
) -> None:
    """Print the sets to make, the networks to train and the estimated time on this machine; nothing is written.

    Cells of a dataset that is not on this machine are listed, but not counted.

    Args:
        entries: entries of the cells.
        sets: number of sets per request.
        device: a device name as `condense` takes it.
        output: printer.
        tested: whether networks are trained and tested on the sets.
    """
    from dsactl.engine.device import describe
    from dsactl.engine.memory import keep_freed_memory
    from dsactl.engine.session import Session
    from dsactl.studies.cells import check
    from dsactl.studies.costs import estimate

    keep_freed_memory()
    cells = [":".join(entry.key) for entry in entries]
    away = downloads.missing(entry.request.dataset for entry in entries)
    if not (here := [entry for entry in entries if entry.request.dataset not in away]):
        downloads.check(away)
    entries = here
    jobs = check(entries, device)
    with output.progress("timing steps", len(entries), "trials") as bar:
        cost = estimate(entries, jobs, sets, Session.open(device, progress=bar), tested=tested)
    lines = [
        f"{many(len(cells), 'cell')}: {', '.join(cells)}",
        sets_in_words(cost),
        f"{many(cost.networks, 'network')} would be trained and tested: about {duration(cost.testing)}.",
        f"Total: about {duration(cost.making + cost.testing)} on {describe(jobs[0].device)}.",
    ]
    if not tested:
        lines[2:] = ["No network would be trained and tested on them."]
    output.answer({"cells": cells, "absent": away, **asdict(cost)}, cells, lines)
    if away:
        output.remark(f"Not on this machine, and not counted: {', '.join(away)}.")
    remark_on_unknown(cost, output)
    output.remark(
        "Estimated from a few uncompiled steps; long runs are compiled and faster. Networks with cached results are "
        "counted, but are not trained again."
    )


def dry_run_of_clock(study: "Clock", device: str, output: Output) -> None:
    """Print the curves, and the estimated time on this machine; nothing is written, and nothing is downloaded."""
    from dsactl.engine.device import describe
    from dsactl.engine.memory import keep_freed_memory
    from dsactl.engine.session import Session
    from dsactl.studies.clock.costs import estimate

    keep_freed_memory()
    away = downloads.missing(study.dataset)
    if not (here := [name for name in study.dataset if name not in away]):
        downloads.check(away)
    study = replace(study, dataset=here)
    with output.progress("timing steps", 1, "curves") as bar:
        session = Session.open(device, progress=bar)
        prepared, _ = study.prepared(session)
        cost = estimate(prepared, study.sets, study.minutes, study.tested, session)
    names = [each.curve.name for each in prepared]
    lines = [
        f"{many(len(names), 'curve')}: {', '.join(names)}",
        f"{many(cost.points, 'set')} would be made, several by one run: about {duration(cost.making)}.",
        f"{many(cost.networks, 'network')} would be trained and tested: about {duration(cost.testing)}.",
        f"Total: about {duration(cost.total)} on {describe(session.device)}.",
    ]
    if cost.pools:
        lines.insert(1, f"Experts that are missing would be trained first: about {duration(cost.pools)}.")
    output.answer({"curves": names, "absent": away, **asdict(cost), "total": cost.total}, names, lines)
    if away:
        output.remark(f"Not on this machine, and not counted: {', '.join(away)}.")
    output.remark("Networks with cached results are counted, but are not trained again.")


def remark_on_unknown(cost: "Cost", output: Output) -> None:
    """Print a remark on the methods whose time is not known, if there are any."""
    if cost.unknown:
        output.remark(f"The time of {' and '.join(cost.unknown)} is unknown and not counted.")


def sets_in_words(cost: "Cost") -> str:
    """Format the number of sets to make and the estimated time."""
    there = f" ({cost.made} already stored)" if cost.made else ""
    operations = f"{cost.operations:.2g} operations of Algorithm 1, " if cost.operations else ""
    return f"{many(cost.sets, 'set')} would be made{there}: {operations}about {duration(cost.making)}."


def listed(text: str, what: str) -> tuple[str, ...]:
    """Parse a comma-separated list, without repetitions.

    Raises:
        UsageError: the list is empty.
    """
    return tuple(dict.fromkeys(all_listed(text, what)))


def all_listed(text: str, what: str) -> tuple[str, ...]:
    """Parse a comma-separated list, with repetitions.

    Raises:
        UsageError: the list is empty.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"No {what} was given.", "Separate several names by commas.")
    return names


def images_per_class(text: str) -> list[int]:
    """Parse numbers of images per class.

    Raises:
        UsageError: not positive integers.
    """
    return _positive("--ipc", text, "a number of images per class, or a list such as 1,10,50")


def formations(text: str) -> list[int]:
    """Parse formations; errors as of `images_per_class`."""
    return _positive("--formation", text, "a number of images along each side, or a list such as 1,2")


def _positive(flag: str, text: str, what: str) -> list[int]:
    words = text.split(",")
    if not all(word.isascii() and word.strip().isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"{flag} {text!r} is not {what}.")
    return list(map(int, words))
