"""Curves of a run: what is read from its log, and where it is drawn."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from dsactl.pages.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, charts, read_events
from dsactl.runs.events import FOLLOWED_BYTES, MAX_EVENTS


def log(path: Path, *events: str | dict[str, object]) -> Path:
    lines = [each if isinstance(each, str) else json.dumps({"seconds": 1.0, **each}) for each in events]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_every_figure_of_a_log_is_read(tmp_path: Path) -> None:
    path = log(
        tmp_path / "events.jsonl",
        {"step": 1, "total": 9, "iteration": 1, "distance": 4.5, "seconds": 1.0, "time": "2026-01-01T00:00:00+00:00"},
        {"step": 2, "iteration": 2, "distance": 4.0, "norm of images": 7, "seconds": 2.0, "note": "text"},
    )
    assert read_events(path) == {"distance": [(1, 4.5), (2, 4.0)], "norm of images": [(2, 7)]}
    assert read_events(tmp_path / "none") == {}


def test_steps_that_were_taken_again_replace_the_earlier_ones(tmp_path: Path) -> None:
    steps = [(1, 10.0), (5, 9.0), (9, 8.0), (5, 9.5), (7, 8.5)]
    path = log(tmp_path / "events.jsonl", *({"step": step, "loss": loss} for step, loss in steps))
    assert read_events(path) == {"loss": [(1, 10.0), (5, 9.5), (7, 8.5)]}


def test_a_log_of_days_is_read_from_its_beginning(tmp_path: Path) -> None:
    steps = range(1, MAX_EVENTS + 2)
    path = log(tmp_path / "events.jsonl", *({"step": step, "loss": 1.0, "text": "x" * 200} for step in steps))
    assert path.stat().st_size > FOLLOWED_BYTES
    assert [step for step, _ in read_events(path)["loss"]] == list(steps)


@pytest.mark.parametrize(
    "line",
    ["", "no JSON", "[1]", "7", '{"loss": 1, "seconds": 1}', '{"step": null, "loss": 1, "seconds": 1}',
     '{"step": 3, "loss": 1}', '{"step": 3, "loss": NaN, "seconds": 1}', '{"step": 3, "loss": 1e999, "seconds": 1}',
     '{"step": 1e999, "loss": 1, "seconds": 1}', '{"step": -3, "loss": 1, "seconds": 1}',
     '{"step": 3, "loss": true, "seconds": 1}',
     '{"step": 3, "loss": ' + "1" * 5000 + ', "seconds": 1}', "[" * 5000],
)  # fmt: skip
def test_lines_that_make_no_sense_are_passed_over(tmp_path: Path, line: str) -> None:
    path = log(tmp_path / "events.jsonl", {"step": 1, "loss": 2.0}, line, {"step": 4, "loss": 1.0})
    assert read_events(path)["loss"] == [(1, 2.0), (4, 1.0)]


def test_points_lie_between_the_axes_from_left_to_right() -> None:
    (chart,) = charts({"a:1": {"loss": [(1, 3.0), (2, 1.0), (4, 2.0)]}})
    dots = chart.lines[0].dots
    assert [x for x, _ in dots] == pytest.approx([LEFT, LEFT + (WIDTH - RIGHT - LEFT) / 3, WIDTH - RIGHT])
    heights = [y for _, y in dots]
    assert TOP <= heights[0] < heights[2] < heights[1] <= HEIGHT - BOTTOM, "the larger is above"
    assert chart.scales == ("", "")
    assert [tick.text for tick in chart.across] == ["1", "2", "3", "4"]
    assert chart.summary == "a:1: 3 at step 1, 2 at step 4"


def test_values_of_several_decades_have_logarithmic_axes() -> None:
    (chart,) = charts({"a:1": {"loss": [(10**power, 10.0**-power) for power in range(5)]}})
    assert chart.scales == ("log", "log")
    dots = chart.lines[0].dots
    gaps = {round(after[0] - before[0], 6) for before, after in pairwise(dots)}
    assert len(gaps) == 1
    assert [tick.text for tick in chart.across] == ["1", "10", "100", "1,000", "10,000"]
    (other,) = charts({"a:1": {"loss": [(1, 1000.0), (2, 0.0)]}})
    assert other.scales == ("", ""), "there is no logarithm of 0"


def test_long_runs_are_thinned_and_keep_their_ends() -> None:
    points = [(step, float(step)) for step in range(1, 100_001)]
    (chart,) = charts({"a:1": {"loss": points}})
    drawn = chart.lines[0].points.split()
    assert len(drawn) <= 400
    assert (drawn[0].split(",")[0], drawn[-1].split(",")[0]) == (f"{LEFT:.1f}", f"{WIDTH - RIGHT:.1f}")
    assert chart.lines[0].dots == ()


@pytest.mark.parametrize("values", [[5.0], [0.0, 0.0], [-1.0, -2.0], [1e-300, 1e29], [-1e29, 1e29], [7e-310, 7e-310]])
def test_values_of_every_kind_can_be_drawn(values: list[float]) -> None:
    (chart,) = charts({"a:1": {"loss": list(enumerate(values, 1))}})
    for x, y in chart.lines[0].dots:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM


def test_several_runs_share_the_axes_of_a_figure() -> None:
    found = charts({"a:1": {"loss": [(1, 1.0), (2, 2.0)]}, "b:1": {"loss": [(1, 3.0), (4, 2.0)], "norm": [(1, 1.0)]}})
    assert [chart.name for chart in found] == ["loss", "norm"]
    assert [(line.label, line.style) for line in found[0].lines] == [("a:1", 0), ("b:1", 1)]
    assert [(line.label, line.style) for line in found[1].lines] == [("b:1", 1)], "it looks the same in all figures"
    assert found[0].lines[0].dots[1][1] == pytest.approx(found[0].lines[1].dots[1][1]), "both are 2"
