"""Accuracies of sets beside those of baselines and of the paper, for every way in which networks were trained.

Baselines are the sets of real images in the store that are chosen from the same training images, as many per class
(random, herding, kcenter, forgetting), and the whole training split. Their accuracies count only if networks were
trained and tested in the same way. Those of another network or formation are a row of their own.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import registry
from dsactl.evaluation.shown import best_of, training
from dsactl.paper import full_data_accuracy
from dsactl.text.formatting import many, mean_and_deviation, protocol_name

WIDTH = 300
"""Width of the plot beside a table, in its own units."""

_CHOSEN = {"random": "random real images", "herding": "herding", "kcenter": "k-center", "forgetting": "forgetting"}
_WHOLE = "the whole training split"
_STEP = 5.0  # points: limits of a plot are multiples

Way = tuple[str, object, str, str, str]
"""How networks were trained and tested: network, epochs, augmentation and the unusual, dataset, test checksum."""
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """An accuracy.

    Attributes:
        what: whose it is.
        kind: "set", "baseline" or "paper".
        mean, deviation: in percent; the deviation is None for one network, or if it is not known.
        n: number of networks; None if it is not known.
        note: how many sets were tested, if several; of the whole split, its own number of epochs.
    """

    what: str
    kind: str
    mean: float
    deviation: float | None
    n: int | None
    note: str = ""

    @property
    def words(self) -> str:
        """The mean and the deviation as text."""
        return f"{self.mean:.1f}" if self.deviation is None else mean_and_deviation(self.mean, self.deviation)


@dataclass(frozen=True)
class Mark:
    """Where a row is in a plot: the mean, and the ends of its deviation."""

    middle: float
    left: float
    right: float


@dataclass(frozen=True)
class Comparison:
    """Accuracies that were measured in the same way.

    Attributes:
        way: how, in words.
        rows: those of the sets first.
        low, high: limits of the plot, in percent, the same for all of a page.
    """

    way: str
    rows: tuple[Row, ...]
    low: float
    high: float

    def mark(self, row: Row) -> Mark:
        """Return where a row is in the plot."""
        spread = row.deviation or 0.0
        return Mark(self._place(row.mean), self._place(row.mean - spread), self._place(row.mean + spread))

    def _place(self, value: float) -> float:
        return round(10 + (WIDTH - 20) * (value - self.low) / (self.high - self.low), 1)


def comparisons(
    sets: Sequence[registry.StoredSet], evaluations: Sequence[Sequence[Record]], store: registry.Store
) -> list[Comparison]:
    """Return a comparison for each way in which networks were trained on one of the sets, the usual one first.

    Args:
        sets: one or several.
        evaluations: the records of each.
        store: has the baselines.
    """
    ways = list(
        dict.fromkeys(
            _way(record, stored.manifest.dataset.name)
            for stored, records in zip(sets, evaluations, strict=True)
            for record in records
            if _is_measured(record)
        )
    )
    usual = [_usual_way(stored, records) for stored, records in zip(sets, evaluations, strict=True)]
    ways.sort(key=lambda way: way not in usual)
    baselines = _baselines(sets, store)
    found = [_rows(way, sets, evaluations, baselines) for way in ways]
    every = [row for rows in found for row in rows]
    low = min((row.mean - (row.deviation or 0) for row in every), default=0)
    high = max((row.mean + (row.deviation or 0) for row in every), default=0)
    low, high = max(0.0, (low - 1) // _STEP * _STEP), min(100.0, -((-high - 1) // _STEP) * _STEP)
    datasets = {dataset for *_, dataset, _ in ways}
    several = len({checksum for *_, checksum in ways}) > len(datasets)
    words = [_in_words(way, named=len(datasets) > 1, several=several) for way in ways]
    return [Comparison(how, tuple(rows), low, max(high, low + _STEP)) for how, rows in zip(words, found, strict=True)]


def _in_words(way: Way, *, named: bool, several: bool) -> str:
    """Format how networks were trained; with the dataset, and the test images, where these are not always the same."""
    network, epochs, augmented, dataset, checksum = way
    about = f"{dataset}, " if named else ""
    trained = many(epochs, "epoch") if isinstance(epochs, int) else "? epochs"
    tested = f", test images {checksum[:8] or '?'}" if several else ""
    return f"{about}{network}, {trained}, augmentation {augmented}{tested}"


def _usual_way(stored: registry.StoredSet, records: Sequence[Record]) -> Way | None:
    """Return the way that a list of sets would show for a set."""
    found = best_of([dict(record) for record in records if _is_measured(record)], stored.manifest.network)
    return None if found is None else _way(found, stored.manifest.dataset.name)


def _is_measured(record: Record) -> bool:
    return isinstance(record.get("mean"), int | float)


def _way(record: Record, dataset: str) -> Way:
    network, checksum = str(record.get("network", "?")), str(record.get("test_checksum", ""))
    return network, record.get("epochs"), training(record), dataset, checksum


def _rows(
    way: Way,
    sets: Sequence[registry.StoredSet],
    evaluations: Sequence[Sequence[Record]],
    baselines: "Sequence[_Baseline]",
) -> list[Row]:
    """Return the accuracies of networks that were trained in one way."""
    rows: list[Row] = []
    papers: dict[tuple[str, float, float], Row] = {}
    by_paper = False
    for stored, records in zip(sets, evaluations, strict=True):
        dataset = stored.manifest.dataset.name
        own = [record for record in records if _is_measured(record) and _way(record, dataset) == way]
        row = _pooled(stored.reference, "set", [own])
        if row is not None:
            rows.append(row)
        for record in own:
            paper = record.get("paper")
            if isinstance(paper, list) and len(paper) == 2:
                what = f"the paper: {stored.manifest.method}, {stored.manifest.recipe.get('ipc', '?')} per class"
                papers[what, paper[0], paper[1]] = Row(what, "paper", paper[0], paper[1], None)
                by_paper = by_paper or not protocol_name(record)
    for each in baselines:
        row = _pooled(each.what, "baseline", each.fitting(way), whole=each.whole)
        rows += [] if row is None else [row]
    rows += papers.values()
    # That of the whole split is of ConvNet, by the paper's protocol.
    whole = full_data_accuracy(way[3]) if by_paper and way[0] == "convnet" else None
    rows += [] if whole is None else [Row("the paper: the whole training split", "paper", *whole, None)]
    return rows


@dataclass(frozen=True)
class _Baseline:
    """Sets of one kind, or the whole training split.

    Attributes:
        what: in words.
        dataset: its name.
        records: evaluations of each set.
        whole: whether it is the whole split, whose networks are trained for other numbers of epochs.
    """

    what: str
    dataset: str
    records: Sequence[Sequence[Record]]
    whole: bool = False

    def fitting(self, way: Way) -> list[list[Record]]:
        """Return the evaluations of each set by networks that were trained in a way."""

        def fits(record: Record) -> bool:
            network, epochs, *rest = _way(record, self.dataset)
            return [network, *rest] == [way[0], *way[2:]] and (self.whole or epochs == way[1])

        return [[record for record in records if _is_measured(record) and fits(record)] for records in self.records]


def _pooled(what: str, kind: str, tested: Iterable[Sequence[Record]], *, whole: bool = False) -> Row | None:
    """Return the accuracy over all networks of several sets: of each set those of the record with the most networks.

    Args:
        what, kind: of the row.
        tested: the records of each set.
        whole: whether the note is the number of epochs.
    """
    chosen = []
    for records in filter(None, tested):
        chosen.append(max(reversed(records), key=lambda record: (record.get("n") or 0, str(record.get("created", "")))))
    if not chosen:
        return None
    known = [record for record in chosen if record.get("accuracies")]
    note = f"{len(known)} sets" if len(known) > 1 else ""
    note = many((known or chosen)[0].get("epochs", "?"), "epoch") if whole else note
    if known:
        accuracies = [value for record in known for value in record["accuracies"]]
        deviation = statistics.pstdev(accuracies) if len(accuracies) > 1 else None
        return Row(what, kind, statistics.fmean(accuracies), deviation, len(accuracies), note)
    (record,) = chosen[-1:]
    return Row(what, kind, float(record["mean"]), record.get("std"), record.get("n"), note)


def _baselines(sets: Sequence[registry.StoredSet], store: registry.Store) -> list[_Baseline]:
    """Return the baselines of the sets' training images and numbers of images, without the sets themselves."""
    groups: dict[tuple[str, str], list[Sequence[Record]]] = {}
    wanted = {(each.manifest.dataset.checksum, each.manifest.tensors["images"].shape[0]) for each in sets}
    seen = {each.digest for each in sets}
    names = {each.manifest.dataset.name for each in sets}
    several = len({count for _, count in wanted}) > 1
    for entry in store.entries()[0]:
        if entry.method not in _CHOSEN or entry.dataset not in names or not entry.evaluations or entry.digest in seen:
            continue
        seen.add(entry.digest)
        try:
            manifest = store.read(entry.name, entry.version).manifest
        except registry.RegistryError:  # removed since, or damaged
            continue
        if (manifest.dataset.checksum, entry.shape[0]) in wanted:
            parts = [_CHOSEN[entry.method], f"by {entry.network}" if entry.network else ""]
            parts += [f"formation {entry.formation}" if entry.formation > 1 else ""]
            parts += ["soft labels" if entry.soft_labels else "", f"{entry.shape[0]:,} images" if several else ""]
            what = ", ".join(filter(None, parts))
            groups.setdefault((what, entry.dataset), []).append(store.evaluations(entry.digest))
    splits = dict.fromkeys((each.manifest.dataset.name, each.manifest.dataset.checksum) for each in sets)
    whole = [_Baseline(_WHOLE, name, [store.evaluations(checksum)], whole=True) for name, checksum in splits]
    return [*(_Baseline(*group, records) for group, records in groups.items()), *whole]
