"""The plot and the page of accuracy over minutes, from points that were made up."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from dsactl.studies.clock import plot
from dsactl.studies.clock.curves import RELABEL
from dsactl.studies.clock.page import page
from dsactl.studies.clock.plot import over_minutes
from dsactl.studies.clock.points import (
    Point,
    Whole,
    merged,
    point_from_json,
    series_of,
    to_json,
    whole_from_json,
)


def point(**values: Any) -> Point:
    usual = Point(
        "digits", 1, "dsa", 1, 0, 1, 7, 60.0, 61.0, "", None, 0, 0, "a:1", "d", "mlp", (50.0, 52.0), 2, "dsa crop",
        "dsa", 1.0, "cpu", "dsactl 1", "dsactl 1, torch 2; native", "a machine",
    )  # fmt: skip
    return replace(usual, **values)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made."""
    made, draw = list[Figure](), plot.to_png
    monkeypatch.setattr(plot, "to_png", lambda figure: made.append(figure) or draw(figure))
    return made


def test_a_plot_has_each_set_at_its_time_and_labels_apart(drawn: list[Figure]) -> None:
    points = [
        point(seconds=50.0, number=0),
        point(seconds=70.0, number=1, accuracies=(54.0, 56.0)),
        point(minutes=2, seconds=120.0, accuracies=(58.0, 60.0)),
        point(method="dm", seconds=120.0, accuracies=(59.0, 59.0)),
        point(method="random", minutes=0, seconds=0.3, accuracies=(30.0, 30.0)),
        point(method=RELABEL, minutes=0, seconds=6.0, pool="p:1", pool_seconds=594.0, accuracies=(40.0, 40.0)),
    ]
    series = series_of(merged((), points))
    whole = Whole("digits", "mlp", (70.0, 72.0), 10, "dsa crop", "dsa")
    assert over_minutes(series, whole, title="A title").startswith(b"\x89PNG")
    axes = drawn[0].axes[0]
    assert (axes.get_xscale(), axes.get_title(), axes.get_ylabel()) == ("log", "A title", "test accuracy, %")
    assert axes.get_xlabel() == "minutes of making a set (empty markers: with training the experts)"
    lines = [[(float(x), float(y)) for x, y in each.lines[0].get_xydata()] for each in axes.containers]
    assert lines == [[(0.1, 30.0)], [(0.1, 40.0)], [(1.0, 53.0), (2.0, 59.0)], [(2.0, 59.0)]]
    empty = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [tuple(line.get_xydata()[0]) for line in empty] == [(10.0, 40.0)]
    assert [71.0, 71.0] in [list(line.get_ydata()) for line in axes.lines]
    words = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
    assert set(words) == {"random", "random + soft", "dsa", "dm", "all training images: 71.0 (n = 2)"}
    assert not words["dsa"].overlaps(words["dm"]), "they would be in the same place"


def test_labels_cover_neither_marks_nor_each_other(drawn: list[Figure]) -> None:
    """Six curves that end within two points of accuracy and two minutes."""
    ends = {"dsa": (69.8, 300.0), "dm": (71.5, 299.0), "dance": (71.2, 301.0), "herding": (70.2, 246.0)}
    points = [
        point(method=method, formation=formation, seconds=seconds + formation, accuracies=(mean - 0.1 * formation,))
        for method, (mean, seconds) in ends.items()
        for formation in (1, 2)
    ]
    points += [point(method="random", minutes=0, seconds=0.1, accuracies=(50.0,))]
    over_minutes(series_of(merged((), points)), None, title="")
    (axes,) = drawn[0].axes
    words = [Text.get_window_extent(text) for text in axes.texts]
    assert len(words) == 9
    assert not any(one.overlaps(other) for one, other in itertools.combinations(words, 2))
    marks = [axes.transData.transform(each.lines[0].get_xydata()[-1]) for each in axes.containers]
    assert not [mark for mark in marks for each in words if each.contains(*mark)]


def test_a_far_accuracy_of_all_images_is_stated_and_not_drawn(drawn: list[Figure]) -> None:
    series = series_of([point(), point(minutes=2, seconds=120.0, accuracies=(58.0, 60.0))])
    over_minutes(series, Whole("digits", "mlp", (99.0,), 10, "dsa crop", "dsa"), title="")
    (axes,) = drawn[0].axes
    assert axes.get_ylim()[1] < 70
    assert "all training images: 99.0 (n = 1), above this plot" in [text.get_text() for text in axes.texts]
    assert "experts" not in axes.get_xlabel()


def test_protocols_are_named_where_there_are_several(drawn: list[Figure]) -> None:
    points = [point(), point(method="dm"), point(method="dance", protocol="idc")]
    over_minutes(series_of(merged((), points)), None, title="")
    (axes,) = drawn[0].axes
    assert axes.get_ylabel() == "test accuracy, % (by dsa if not named)"
    assert {text.get_text() for text in axes.texts} == {"dsa", "dm", "dance, by idc"}


def test_points_survive_json_and_hand_made_ones_do_not() -> None:
    good = to_json(point())
    assert point_from_json(json.loads(json.dumps(good))) == point()
    for wrong in ({"method": "magic"}, {"accuracies": []}, {"accuracies": ["x"]}, {"seconds": "1"}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            point_from_json({**good, **wrong})
    del good["pool_settings"]  # as earlier versions wrote it
    assert point_from_json(good) == point()


def test_the_page_says_what_is_unknown() -> None:
    plan = {"seed": 3}
    text = page([point(accuracies=(50.0,), pool="p:1")], {}, plan, 1)
    assert "| dsa | 1 min 00 s | 7 | unknown | 50.0 | 1 | 1 | dsa |" in text
    assert "\nSeed 3.\n" in text
    assert "(clock-digits-ipc1.png)\n\nMachine: a machine.\n\n| set |" in text
    assert "that fit in 1 minute by" in text
    assert "\nAll settings of the methods and" in text
    assert "1 point of the last call is not finished." in text
    assert "Sets made with dsactl 1, torch 2. Networks trained with dsactl 1, cpu." in text


def test_the_page_says_when_curves_end_at_different_times() -> None:
    whole = [point(), point(minutes=5), point(method="random", minutes=0)]
    assert "that fit in 1 and 5 minutes by the time" in page(whole, {}, {"seed": 0}, 0)
    assert "that fit in 1 and 5 minutes, or in some of these, by the time" in page(
        [*whole, point(method="dm")], {}, {"seed": 0}, 0
    )


def test_the_page_of_the_documentation_is_that_of_its_results() -> None:
    docs = Path(__file__).parents[2] / "docs"
    kept = json.loads((docs / "clock.json").read_text(encoding="utf-8"))
    points = [point_from_json(each) for each in kept["points"]]
    whole = {each["dataset"]: whole_from_json(each) for each in kept["whole"]}
    assert (docs / "accuracy.md").read_text(encoding="utf-8") == page(merged((), points), whole, kept["plan"], 0)
