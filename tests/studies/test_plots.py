"""What stands where in the plots, by the figures before they are drawn."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from dsactl.studies import plots
from dsactl.studies.cells import Cell
from dsactl.studies.gradients import Norms


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are made, in order; they are drawn all the same."""
    made, draw = [], plots.to_png
    monkeypatch.setattr(plots, "to_png", lambda figure: made.append(figure) or draw(figure))
    return made


def cell(mean: float, std: float = 1.0, paper: tuple[float, float] | None = None) -> Cell:
    """Of two networks."""
    accuracies = (mean - std, mean + std)
    return Cell((), (), "convnet", accuracies, 300, "none", "cpu", "dsactl", (), 1.0, 1.0, paper)


def words(labels: object) -> list[str]:
    return [label.get_text() for label in labels]  # type: ignore[attr-defined]


def bars(axes) -> list[tuple[str, list[float], list[float], list[list[float]]]]:  # type: ignore[no-untyped-def]
    """Of each series with deviations: its label, where its points are, and from where to where each bar goes."""
    found = []
    for container in axes.containers:
        line, _, (drawn,) = container.lines
        ends = [[low[1], high[1]] for low, high in drawn.get_segments()]
        found.append((container.get_label(), list(line.get_xdata()), list(line.get_ydata()), ends))
    return found


def test_a_heat_map_has_each_cell_in_its_row_and_column(figures: list[Figure]) -> None:
    cells = {("a", "x"): cell(10), ("a", "y"): cell(20, 2), ("b", "z"): cell(60, 0.5), ("gone", "x"): cell(99)}
    labels = {"title": "A title", "row_label": "made on", "column_label": "tested on"}
    assert plots.heat_map(["a", "b"], ["x", "y", "z"], cells, **labels).startswith(b"\x89PNG")
    axes, scale = figures[0].axes
    (image,) = axes.images
    found = np.ma.filled(image.get_array().astype(float), np.nan)
    np.testing.assert_array_equal(found, [[10, 20, np.nan], [np.nan, np.nan, 60]])
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (0, 0): "10.0\n± 1.0",
        (1, 0): "20.0\n± 2.0",
        (2, 1): "60.0\n± 0.5",
    }
    assert [text.get_color() for text in axes.texts] == ["black", "black", "white"]
    assert (words(axes.get_xticklabels()), words(axes.get_yticklabels())) == (["x", "y", "z"], ["a", "b"])
    assert axes.yaxis_inverted(), "the first row is above"
    assert (axes.get_title(), axes.get_ylabel(), axes.get_xlabel()) == tuple(labels.values())
    assert scale.get_ylabel() == "test accuracy, %"
    assert scale.get_ylim() == pytest.approx((10, 60))


def test_points_stand_over_their_names_with_the_paper_s_beside_them(figures: list[Figure]) -> None:
    names = ["none", "crop", "color", "flip"]
    plots.points(names, {("none",): cell(50, 3), ("color",): cell(40, 2, (45.0, 0.5))}, title="A title")
    (axes,) = figures[0].axes
    places = [(across, up, ends) for _, across, up, ends in bars(axes)]
    assert places == [
        ([0 - 0.12], [50], [[47, 53]]),
        ([2 - 0.12], [40], [[38, 42]]),
        ([2 + 0.12], [45], [[44.5, 45.5]]),
    ]
    assert (words(axes.get_xticklabels()), axes.get_xlim()) == (names, (-0.5, 3.5))
    assert words(axes.get_legend().get_texts()) == ["ours", "the paper"]
    assert (axes.get_title(), axes.get_ylabel()) == ("A title", "test accuracy, %")
    plots.points(names, {("crop",): cell(50)}, title="")
    (axes,) = figures[1].axes
    assert [across for _, across, _, _ in bars(axes)] == [[1]]
    assert axes.get_legend() is None


def test_lines_go_over_the_images_per_class(figures: list[Figure]) -> None:
    cells = {("dsa", "10"): cell(80, 2), ("dsa", "2"): cell(70), ("random", "10"): cell(60), ("random", "1"): cell(30)}
    plots.lines(["random", "herding", "dsa"], cells, title="A title")
    (axes,) = figures[0].axes
    (first, *random), (second, *dsa) = bars(axes)
    assert [first, second] == words(axes.get_legend().get_texts()) == ["random", "dsa"]
    assert random == [pytest.approx([1 / 1.03, 10 / 1.03]), [30, 60], [[29, 31], [59, 61]]]
    assert dsa == [pytest.approx([2 * 1.03, 10 * 1.03]), [70, 80], [[69, 71], [78, 82]]]
    assert axes.get_xscale() == "log"
    assert (list(axes.get_xticks()), words(axes.get_xticklabels())) == ([1, 2, 10], ["1", "2", "10"])
    assert len({container.lines[0].get_marker() for container in axes.containers}) == 2
    assert (axes.get_title(), axes.get_xlabel()) == ("A title", "images per class")
    plots.lines(["random"], {}, title="nothing yet")


def test_stages_have_a_line_for_each_memory_with_and_without_distillation(figures: list[Figure]) -> None:
    courses = {
        ("herding", False): [(90.0, 1.0), (70.0, 2.0)],
        ("herding", True): [(90.0, 1.0), (75.0, 2.5)],
        ("dsa", False): [(90.0, 1.0)],
    }
    plots.stages(courses, ["digits", "mnist", "usps"], title="A title", papers={"dsa": 80.0})
    (axes,) = figures[0].axes
    assert bars(axes) == [
        ("herding", [-0.04, 0.96], [90, 70], [[89, 91], [68, 72]]),
        ("herding, distilled", [0, 1], [90, 75], [[89, 91], [72.5, 77.5]]),
        ("dsa", [0.04], [90], [[89, 91]]),
    ]
    herding, distilled, dsa = (container.lines[0] for container in axes.containers)
    assert [line.get_linestyle() for line in (herding, distilled, dsa)] == ["-", "--", "-"]
    assert herding.get_marker() == distilled.get_marker() != dsa.get_marker()
    assert (distilled.get_markerfacecolor(), herding.get_color()) == ("white", distilled.get_color())
    (paper,) = [line for line in axes.lines if line.get_label() == "dsa, the paper"]
    assert (list(paper.get_xdata()), list(paper.get_ydata()), paper.get_marker()) == ([2.3], [80], dsa.get_marker())
    assert words(axes.get_xticklabels()) == ["digits", "mnist", "usps"]
    assert set(words(axes.get_legend().get_texts())) == {"herding", "herding, distilled", "dsa", "dsa, the paper"}


def test_rankings_show_the_best_of_each_proxy_apart(figures: list[Figure]) -> None:
    whole = [70.0, 90.0, 80.0]
    panels = {
        "random": plots.Ranking([10.0, 20.0, 30.0], whole, 1, None),
        "dsa": plots.Ranking([50.0, 60.0, 55.0], whole, 2, 0.5),
    }
    plots.rankings(panels, title="A title")
    random, dsa = figures[0].axes
    for axes, rest, best in ((random, [(20, 90), (10, 70)], [(30, 80)]), (dsa, [(50, 70)], [(60, 90), (55, 80)])):
        drawn = {line.get_label(): list(map(tuple, line.get_xydata())) for line in axes.lines}
        assert drawn == {"all others": rest, "the proxy's best": best}
    assert [axes.get_title() for axes in figures[0].axes] == ["random", "dsa\nrank correlation of the best 2: 0.50"]
    assert [bool(axes.get_ylabel()) for axes in figures[0].axes] == [True, False]
    assert words(figures[0].legends[0].get_texts()) == ["all others", "the proxy's best"]
    assert figures[0].get_suptitle() == "A title"


def test_every_norm_is_in_its_panel_s_histogram(figures: list[Figure]) -> None:
    found = {
        "with DSA": [Norms(0, 0, 0, 1.0, 2.0), Norms(0, 0, 1, 1.0, 4.0)],
        "without": [Norms(0, 0, 0, 8.0, 0.0)],
    }
    plots.norms_histogram(found, title="A title")
    panels = figures[0].axes
    assert [axes.get_title() for axes in panels] == list(found)
    assert panels[0].patches[0].get_x() == pytest.approx(8e-6), "no norm of zero on a logarithmic axis"
    for axes, several in zip(panels, found.values(), strict=True):
        assert axes.get_xscale() == "log"
        boxes = [(box.get_x(), box.get_x() + box.get_width(), box.get_height()) for box in axes.patches[:-1]]
        for norm in {each.real for each in several}:
            (count,) = [height for low, high, height in boxes if low <= 0.999 * norm < high]
            assert count == sum(each.real == norm for each in several)
        assert sum(height for _, _, height in boxes) == len(several)
        (outline,) = axes.patches[-1:]
        assert max(outline.get_xy()[:, 1]) == 1
    assert words(panels[0].get_legend().get_texts()) == ["real", "synthetic"]
    assert panels[1].get_legend() is None
