"""The results of a search: the ranking of networks by each proxy, its choice, and how well it ranks.

JSON and CSV list every network; the table has a row for each proxy (Table 6).
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from dsactl.evaluation.protocol import NetworkResult, Sample
from dsactl.paper import tables
from dsactl.studies.folder import Folder
from dsactl.studies.nas.correlation import SHARES, Correlation, correlations
from dsactl.studies.nas.proxy_names import WHOLE
from dsactl.studies.plots import Ranking, rankings
from dsactl.studies.result import StudyResult
from dsactl.text.formatting import accuracy, duration
from dsactl.text.tables import Table

STUDY = "nas"
_BEST = 5  # number of networks per proxy in the table


@dataclass(frozen=True)
class Row(Sample):
    """The results of a proxy.

    Attributes:
        proxy: its name.
        images: number of images that it trains on.
        scores: held-out result of every network, by its name, in the order of the space.
        accuracies: on the test split, percent, of the networks of the chosen kind that were trained on all training
            images; none if that failed.
        testing: seconds of that.
        remark, paper: see `proxies.Proxy`.
        conditions: see `proxies.Proxy.conditions`.
    """

    proxy: str
    images: int
    scores: Mapping[str, NetworkResult]
    accuracies: tuple[float, ...] = ()
    testing: float = 0.0
    remark: str = ""
    paper: str | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ranking(self) -> list[tuple[str, NetworkResult]]:
        """Networks and results, the best on the held-out images first; equal ones in the order of the space."""
        return sorted(self.scores.items(), key=lambda pair: -pair[1].accuracy)

    @property
    def chosen(self) -> str:
        """The name of the best network on the held-out images; the first of several."""
        return self.ranking[0][0]

    @property
    def seconds(self) -> float:
        """Seconds of training and testing all networks on the proxy."""
        return sum(score.seconds for score in self.scores.values())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "proxy": self.proxy,
            "images": self.images,
            "seconds": self.seconds,
            "chosen": self.chosen,
            "accuracies": list(self.accuracies),
            "testing": self.testing,
            "remark": self.remark,
            "paper": self.paper,
            "conditions": dict(self.conditions),
            "networks": {name: score._asdict() for name, score in self.scores.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Row":
        """Return a row from the values of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: the values are not those of a row.
        """
        scores = {
            str(name): NetworkResult(float(score["accuracy"]), float(score["seconds"]))
            for name, score in values["networks"].items()
        }
        if not scores:
            raise ValueError("no networks")
        return cls(
            str(values["proxy"]),
            int(values["images"]),
            scores,
            tuple(map(float, values["accuracies"])),
            float(values["testing"]),
            str(values["remark"]),
            None if values["paper"] is None else str(values["paper"]),
            dict(values.get("conditions", {})),
        )


def ranks(row: Row, rows: Sequence[Row]) -> list[Correlation]:
    """Correlate a proxy's ranking with that of `whole`; empty if there is none of the same networks."""
    whole = next((other for other in rows if other.proxy == WHOLE), None)
    if whole is None or whole.scores.keys() != row.scores.keys():
        return []
    names = list(row.scores)
    return correlations([row.scores[name].accuracy for name in names], [whole.scores[name].accuracy for name in names])


def differing(rows: Sequence[Row]) -> list[str]:
    """Return which of device, torch and precision differ between rows; unknown values are ignored."""
    known = [{**row.conditions, **row.conditions.get("protocol", {})} for row in rows]
    names = ("device", "torch", "precision")
    return [name for name in names if len({str(each[name]) for each in known if name in each}) > 1]


def paper_column(row: Row) -> dict[str, float] | None:
    """Return a proxy's column of Table 6: accuracy, correlation of the top 5 %, minutes, images; None without one."""
    if row.paper is None:
        return None
    table = tables()["nas"]
    index = table["columns"].index(row.paper)
    return {what: float(table[what][index]) for what in ("accuracy", "correlation", "minutes", "images")}


def write(folder: Folder, rows: Sequence[Row]) -> list[Row]:
    """Write JSON, CSV and the plot of these rows and those of earlier calls.

    Args:
        folder: of the search.
        rows: of the proxies that are done.

    Returns:
        All rows.

    Raises:
        StoreError: the folder cannot be written to.
        UsageError: the file was changed by hand.
    """
    with folder.writing():
        earlier = folder.earlier("rows", Row.from_dict)
        every = list(_newest(earlier, rows).values())
        ranked = [ranks(row, every) for row in every]
        pairs = list(zip(every, ranked, strict=True))
        folder.put_json(
            {"rows": [{**row.to_dict(), "correlations": [asdict(each) for each in found]} for row, found in pairs]}
        )
        folder.put(f"{STUDY}.csv", to_csv(every))
        whole = next((row for row in every if row.proxy == WHOLE), None)
        others = [(row, found) for row, found in pairs if row is not whole]
        if whole and others:
            panels = {row.proxy: _panel(row, whole, found[0]) for row, found in others if found}
            folder.put(
                f"{STUDY}.png", rankings(panels, title=f"{folder.plan['dataset']}, {len(whole.scores)} networks")
            )
    return every


def _newest(earlier: Sequence[Row], rows: Sequence[Row]) -> dict[str, Row]:
    """Return the newest row of each proxy; without accuracies it takes those of an earlier row with the same choice."""
    every = {row.proxy: row for row in earlier}
    for row in rows:
        old = every.get(row.proxy)
        tested = old if old and not row.accuracies and old.chosen == row.chosen else row
        every[row.proxy] = replace(row, accuracies=tested.accuracies, testing=tested.testing)
    return every


def _panel(row: Row, whole: Row, best: Correlation) -> Ranking:
    proxy, truth = ([each.scores[name].accuracy for name in row.scores] for each in (row, whole))
    return Ranking(proxy, truth, best.networks, best.spearman)


def result_of(folder: Folder, rows: Sequence[Row], *, with_paper: bool) -> StudyResult:
    """Return the results of a search, with the paper's next to ours if all settings match.

    Args:
        folder: of the search.
        rows: of the proxies.
        with_paper: whether the settings are the paper's.
    """
    tops = tuple("all" if share == 1 else f"top {share:.0%}" for share in SHARES)
    papers = [paper_column(row) if with_paper else None for row in rows]
    ranked = [ranks(row, rows) for row in rows]
    in_words = [[_in_words(each.spearman, each.low, each.high) for each in found] for found in ranked]
    # No columns for trivial values: whole correlates perfectly with itself, a share of few networks not at all.
    compared = [words for row, words in zip(rows, in_words, strict=True) if row.proxy != WHOLE and words]
    columns = [place for place in range(len(tops)) if any(words[place] != "–" for words in compared)]
    right = ("accuracy %", *(tops[place] for place in columns), "time", "images")
    shown = Table(("proxy", "chosen network", *right), right=right, optional=("chosen network", "images", "time"))
    for row, paper, words in zip(rows, papers, in_words, strict=True):
        reached = accuracy({"mean": row.mean, "std": row.std, "n": row.n}) if row.accuracies else "–"
        correlations = ["–" if row.proxy == WHOLE or not words else words[place] for place in columns]
        shown.add(row.proxy, row.chosen, reached, *correlations, duration(row.seconds), f"{row.images:,}")
        if paper:
            theirs = [f"{paper['correlation']:.2f}" if place == 0 else "–" for place in columns]
            numbers = duration(60 * paper["minutes"]), f"{paper['images']:,.0f}"
            shown.add("  paper", "", f"{paper['accuracy']:.1f}", *theirs, *numbers)
    heading = "Test accuracy of the network chosen by each proxy"
    values = {
        "folder": str(folder.path),
        "rows": [
            {key: each for key, each in row.to_dict().items() if key != "networks"}
            | {"correlations": [vars(each) for each in found], "paper": paper}
            for row, paper, found in zip(rows, papers, ranked, strict=True)
        ],
    }
    differences = differing(rows)
    remarks = (
        "In brackets: 95 % bootstrap interval over networks."
        if any(each.low is not None for found in ranked for each in found)
        else "",
        f"The proxies differ in {' and '.join(differences)}, which affects all results: see nas.json."
        if differences
        else "",
        "Time is for training all networks on the proxy. Ties are resolved by the order of the search space.",
    )
    return StudyResult(
        folder.path,
        values,
        (
            (f"{heading}, and Spearman's correlation of the proxy's ranking" if columns else heading, shown),
            ("Best networks by proxy, on the held-out images; the first is chosen", _best(rows)),
        ),
        tuple(filter(None, remarks)),
        tuple(name for name in ("nas.csv", "nas.json", "nas.png") if (folder.path / name).exists()),
    )


def _best(rows: Sequence[Row]) -> Table:
    shown = Table(("rank", "network", "held-out %"), right=("rank", "held-out %"))
    for row in rows:
        shown.add("", f"proxy {row.proxy}:", "")
        for rank, (name, score) in enumerate(row.ranking[:_BEST], 1):
            shown.add(str(rank), name, f"{score.accuracy:.1f}")
    return shown


def _in_words(spearman: float | None, low: float | None, high: float | None) -> str:
    if spearman is None:
        return "–"
    return f"{spearman:.2f}" if low is None else f"{spearman:.2f} [{low:.2f}, {high:.2f}]"


def to_csv(rows: Sequence[Row]) -> bytes:
    """Return CSV with one line for each network and proxy."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("proxy", "network", "accuracy", "seconds"))
    for row in rows:
        for name, score in row.scores.items():
            writer.writerow((row.proxy, name, round(score.accuracy, 4), round(score.seconds, 3)))
    return text.getvalue().encode()
