"""Accuracy over the minutes that making a set takes on the machine at hand. Importing this loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dsactl.engine.arguments import check_seed, check_whole
from dsactl.errors import DataError, RunError, UsageError
from dsactl.evaluation.protocol import Protocol
from dsactl.networks.catalogue import NetworkSpec
from dsactl.recipes.methods import BUILT_IN
from dsactl.studies.clock.curves import FORMATIONS, METHODS, MINUTES, Curve, Stop, curves, in_order
from dsactl.studies.options import at_least_one, checked_names, request_of
from dsactl.studies.result import StudyResult
from dsactl.studies.study import Study, keeping_finished_work
from dsactl.text.formatting import many
from dsactl.training.protocols import find_protocol
from registry import MissingPackageError

if TYPE_CHECKING:
    from dsactl.data.dataset import Dataset
    from dsactl.engine.session import Session
    from dsactl.studies.clock.making import Prepared
    from dsactl.studies.clock.points import Point
    from dsactl.studies.folder import Folder

NAME = "clock"
"""What `reproduce` calls the study."""


@dataclass(frozen=True)
class Clock(Study):
    """Accuracy over minutes, a curve for each method; its options are checked when it is made.

    All settings of the methods are their defaults.

    Attributes:
        dataset: names of datasets, or image folders.
        ipc: numbers of images per class.
        methods: some of `curves.METHODS`; None for all. "relabel" stands for random images with soft labels.
        formation: numbers F of the sets; those that do not divide the images of a dataset are left out.
        minutes: the longest time of a run, 1 to 60; sets are taken then, and at those of `curves.MINUTES` before.
        sets: number of sets of each curve, with derived seeds.
        networks: number of networks per set.
        protocol: of the evaluation, see `Protocol`; None for the one that the method's sets are made for.
        epochs: of training these networks; None for the protocol's.
        experts: reference of the pool of experts of dance and relabel, for a single dataset; None for the pool that
            the settings of dance describe, which is trained if the store does not have it.
        arch: the network; None for the default.
        image_size: side of a folder's images in pixels; needed if they differ in size.
        seed: the random seed.

    Raises:
        dsactl.Error: an unknown name, or an option that does not fit.
    """

    command: ClassVar[str] = "reproduce"

    dataset: Sequence[str] = ("fashionmnist", "cifar10")
    ipc: Sequence[int] = (1, 10)
    methods: Sequence[str] | None = None
    formation: Sequence[int] = FORMATIONS
    minutes: int = 60
    sets: int = 2
    networks: int = 5
    protocol: str | None = None
    epochs: int | None = None
    experts: str | None = None
    arch: str | None = None
    image_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        at_least_one(sets=self.sets)
        check_whole("minutes", self.minutes)
        if not MINUTES[0] <= self.minutes <= MINUTES[-1]:
            raise UsageError(f"`minutes` must be from {MINUTES[0]} to {MINUTES[-1]}, not {self.minutes}.")
        for name, example in (("dataset", '["digits"]'), ("ipc", "[1, 10]"), ("formation", "[1, 2]")):
            if not getattr(self, name):
                raise UsageError(f"No `{name}` was given.", f"For example: `{name}={example}`")
        for number in self.ipc:
            at_least_one(ipc=number)
        for number in self.formation:
            at_least_one(formation=number)
        if self.experts is not None and len(set(self.dataset)) > 1:
            raise UsageError("`experts` names a pool for one dataset.", 'Give one, for example `dataset=["cifar10"]`.')
        if self.protocol is not None and find_protocol(self.protocol).lr is None:
            raise UsageError(
                f"`protocol={self.protocol!r}` needs learning rates that were learned with the sets; these have none.",
                'Use another, for example `protocol="dsa"`.',
            )
        self.tested  # noqa: B018  (checks its options)
        self.curves  # noqa: B018  (checks the names)

    @cached_property
    def tested(self) -> Protocol:
        """The protocol of the evaluation."""
        network = None if self.arch is None else NetworkSpec(self.arch)
        return Protocol(network=network, networks=self.networks, epochs=self.epochs, name=self.protocol)

    @cached_property
    def curves(self) -> list[Curve]:
        """The curves to draw."""
        formations = list(dict.fromkeys(self.formation))
        methods = METHODS if self.methods is None else tuple(self.methods)
        for name in methods:
            if name in BUILT_IN and name not in METHODS:
                raise UsageError(f"There is no curve of {name!r}.", f"Those that have one: {', '.join(METHODS)}.")
        methods = checked_names(methods, "method", METHODS)
        found = list[Curve]()
        for dataset in dict.fromkeys(self.dataset):
            # A method that trains a network checks its name, too.
            given = {"arch": self.arch, "image_size": self.image_size, "seed": self.seed}
            base = request_of(dataset, self.ipc[0], method="dm", **given)
            found += curves(base, list(dict.fromkeys(self.ipc)), methods, formations, self.experts)
        return found

    def prepared(self, session: "Session") -> "tuple[list[Prepared], int]":
        """Return the curves that can be made, with their jobs; report the others, and return their number.

        Curves whose formation does not divide the images of their dataset are left out, with a remark.

        Raises:
            DataError, MissingPackageError: none can be made.
            UsageError: no formation divides the images.
            dsactl.Error: an option does not fit a dataset.
        """
        from dsactl.data.load import load_dataset
        from dsactl.parametrisation.formation import check_formation
        from dsactl.runs.job import prepare
        from dsactl.studies.clock.making import Prepared

        found, skipped = list[Prepared](), 0
        loaded: dict[str, Dataset] = {}
        wrong = dict[str, DataError | MissingPackageError]()
        unfit = dict[tuple[str, int], UsageError]()
        for curve in self.curves:
            dataset = curve.request.dataset
            if dataset in wrong:
                skipped += 1
                continue
            place = dataset
            try:
                if dataset not in loaded:
                    loaded[dataset] = load_dataset(dataset, image_size=self.image_size).to(session.device)
                    _refuse_one_name_of_two(loaded)
                place = curve.name
                try:
                    check_formation(curve.request.formation, loaded[dataset].size)
                except UsageError as error:
                    unfit[dataset, curve.request.formation] = error
                    continue
                job = prepare(curve.request, session.device, loaded=loaded[dataset], store=session.store)
                teacher = None
                if curve.experts is not None:
                    teacher = prepare(curve.experts, session.device, loaded=loaded[dataset], store=session.store)
                found.append(Prepared(curve, job, teacher))
            except (DataError, MissingPackageError) as error:
                wrong[place] = error
                skipped += 1
        if not found and (wrong or unfit):
            raise next(iter((*wrong.values(), *unfit.values())))
        for (name, formation), misfit in unfit.items():
            session.progress.remark(f"Curves of {name} with formation {formation} are left out: {misfit.message}")
        for name, reason in wrong.items():
            session.progress.fail(f"Curves of {name} are skipped: {reason.message}", reason.hint)
        return found, skipped

    def run(self, session: "Session", out: Path | None = None) -> StudyResult:
        """Make the sets and evaluate them; see `Study.run`. The plots and the page are updated after each.

        The meter counts points. The pools of experts that are missing are named first, with what training them takes.
        """
        from dsactl.studies.clock.costs import announce_pools, late
        from dsactl.studies.clock.points import Point
        from dsactl.studies.folder import Folder

        prepared, skipped = self.prepared(session)
        plan = {name: getattr(self, name) for name in ("seed", "protocol", "epochs", "arch")}
        plan |= {} if self.image_size is None else {"image_size": self.image_size}
        folder = Folder(out or Path(NAME), NAME, plan)
        by_name = {each.curve.name: each for each in prepared}
        curves = [each.curve for each in prepared]
        stops = in_order(curves, self.sets, self.minutes, late(prepared, session.store))
        announce_pools(prepared, session)
        points, failed, left = list[Point](), set[tuple[str, int]](), len(stops)
        self._write(folder, points, prepared, session, left)
        with keeping_finished_work(lambda: f"{len(stops) - left} of {len(stops)} points are done"):
            for index, stop in enumerate(stops):
                name = stop.curve.name
                if (name, stop.number) not in failed:
                    try:
                        points += self._measure(stop, by_name[name], session.part(index, 1, len(stops), name))
                    except RunError as error:
                        failed.add((name, stop.number))
                        session.progress.fail(f"{name}: {error.message}", error.hint)
                left -= 1
                self._write(folder, points, prepared, session, left)
        every = (len(prepared) + skipped) * self.sets
        return self._result(folder, points, len(failed) + skipped * self.sets, every)

    def _measure(self, stop: Stop, prepared: "Prepared", session: "Session") -> "list[Point]":
        """Make the set of a point and evaluate it; none if its run has no other set than at the time before."""
        from dsactl.engine.device import describe_machine
        from dsactl.evaluation.evaluate import evaluate_cached
        from dsactl.studies.clock import making
        from dsactl.studies.clock.points import point_of
        from dsactl.synthetic.synthetic_set import from_store

        job, teacher = prepared.job, prepared.teacher
        here = session.part(0, 1, 2)
        if stop.curve.is_running:
            made = making.run_until(job, stop.number, stop.minutes, here)
        elif teacher is not None:
            made = making.make_soft(job, teacher, stop.number, here)
        else:
            made = making.make_at_once(job, stop.number, here)
        if made is None:
            return []
        synthetic = from_store(session.store, made.stored)
        result = evaluate_cached(synthetic, job.dataset, self.tested, session.part(1, 1, 2, "networks"))
        protocol = self.tested.resolve(synthetic.recipe).name
        machine = describe_machine(session.device)
        return [point_of(stop, job.dataset, made, result, protocol, machine)]

    def _write(
        self,
        folder: "Folder",
        points: "Sequence[Point]",
        prepared: "Sequence[Prepared]",
        session: "Session",
        left: int,
    ) -> None:
        """Add the points to the folder, and draw what it has.

        Raises:
            UsageError: it has points of the same plot from another machine.
        """
        from dsactl.studies.clock.page import page, pictures
        from dsactl.studies.clock.points import COLUMNS, find_whole, merged, point_from_json, to_json, whole_from_json
        from dsactl.studies.folder import to_csv

        with folder.writing():
            before = folder.earlier("points", point_from_json)
            _refuse_other_machines(before, prepared, folder, session)
            _refuse_other_images(before, prepared, folder)
            known = merged(before, points)
            datasets = {each.job.dataset.name: each.job.dataset for each in prepared}
            earlier = folder.earlier("whole", whole_from_json)
            whole = {each.dataset: each for each in earlier if each.dataset not in datasets}
            for name, dataset in datasets.items():
                if (found := find_whole(dataset, self.tested, session)) is not None:
                    whole[name] = found
            rows = [to_json(point) for point in known]
            folder.put_json({"points": rows, "whole": [to_json(each) for each in whole.values()]})
            folder.put(f"{NAME}.csv", to_csv(rows, COLUMNS).encode())
            drawn = pictures(known, whole)
            for name, picture in drawn.items():
                folder.put(name, picture)
            folder.put("accuracy.md", page(known, whole, folder.plan, left).encode())

    def _result(self, folder: "Folder", points: "Sequence[Point]", failed: int, total: int) -> StudyResult:
        """Return the points of this call."""
        from dsactl.studies.clock.page import tables
        from dsactl.studies.clock.points import merged, to_json

        found = merged((), points)
        own = [file.name for file in folder.path.iterdir() if file.name.startswith(NAME) or file.name == "accuracy.md"]
        remark = f"Mean ± population standard deviation over all networks; {many(self.networks, 'network')} per set."
        values: dict[str, Any] = {"folder": str(folder.path), "points": [to_json(point) for point in found]}
        return StudyResult(
            folder.path,
            values,
            tuple(tables(found)),
            (remark,),
            tuple(sorted(own)),
            f"{failed} of {total} runs" if failed else "",
        )


def _refuse_other_machines(
    before: "Sequence[Point]", prepared: "Sequence[Prepared]", folder: "Folder", session: "Session"
) -> None:
    """Refuse a folder with points from another machine in a plot of these curves: a plot compares times.

    Raises:
        UsageError: it has such points.
    """
    from dsactl.engine.device import describe_machine

    here = describe_machine(session.device)
    plots = {(each.job.dataset.name, each.job.recipe.ipc) for each in prepared}
    for point in before:
        if point.plot in plots and point.machine != here:
            raise UsageError(
                f"{folder.path} has points of {point.dataset}, {many(point.ipc, 'image')} per class, from "
                f"another machine: {point.machine}. This one is {here}, and a plot compares times.",
                "Name another folder with `out`.",
            )


def _refuse_other_images(before: "Sequence[Point]", prepared: "Sequence[Prepared]", folder: "Folder") -> None:
    """Refuse a folder with points of a dataset that had other images then, such as a folder that was changed.

    Raises:
        UsageError: it has such points.
    """
    images = {each.job.dataset.name: ", ".join(each.job.dataset.checksums) for each in prepared}
    for point in before:
        if point.images and point.images != images.get(point.dataset, point.images):
            raise UsageError(
                f"{folder.path} has points of {point.dataset}, whose images were others.",
                "Name another folder with `out`.",
            )


def _refuse_one_name_of_two(loaded: "Mapping[str, Dataset]") -> None:
    """Refuse two datasets whose points could not be told apart.

    Raises:
        UsageError: two have one name.
    """
    by_name = dict[str, str]()
    for given, dataset in loaded.items():
        if (other := by_name.setdefault(dataset.name, given)) != given:
            raise UsageError(
                f"{other} and {given} are both called {dataset.name}.",
                "Give each in a call of its own, with a folder of its own (`out`).",
            )
