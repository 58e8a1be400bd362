"""Figures: the pixels are there, say what they must, and nothing overlaps."""

from dataclasses import replace
from itertools import combinations

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from results.analysis.front import Front, Objective, Point, Reference, front_of
from results.render.plots import COLOURS, plot_curves, plot_front

MACS = Objective("macs", "MACs without bias, 3x256x256", "1", "min")
PSNR = Objective("psnr_y", "Y, 8-bit, border 4, on set5 (1a2b3c4d5e6f)", "dB", "max")
REFERENCE = Reference(2e8, 28.42, "cost at the budget, quality of bicubic")
NAMES = {"title": "Study", "x_label": "GMACs", "y_label": "PSNR in dB"}


@pytest.fixture
def figures(monkeypatch):
    """The figures that get saved, for looking inside."""
    saved = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *args, **kw: (saved.append(self), save(self, *args, **kw))
    )
    return saved


def points(lowest: float, count: int = 40) -> tuple[Point, ...]:
    costs = np.geomspace(lowest, 1.9e8, count)
    return tuple(Point(n, n, f"{n:x}", float(c), 28 + n % 7 / 3 + n / 20) for n, c in enumerate(costs))


def front(all_points: tuple[Point, ...]) -> Front:
    return Front(all_points[-3:], all_points, MACS, PSNR, REFERENCE, 3.2e8)


def draw(path, *, lowest: float = 1e6, **options):
    drawn = points(lowest)
    labels = [("residual", "depthwise", "edge-oriented (re-parametrised)")[n % 3] for n in range(len(drawn))]
    baseline = ("bicubic", 28.42)
    options = {"labels": labels, "budget": 2e8, "baseline": baseline, "x_unit": 1e9, **NAMES, **options}
    return plot_front(path, drawn, front(drawn), **options)


def test_png_is_1200_by_800_and_not_blank(tmp_path):
    image = Image.open(draw(tmp_path / "new" / "front.png"))
    assert image.size == (1200, 800)
    assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 100


def test_states_protocols_reference_budget_and_baseline(tmp_path, figures):
    draw(tmp_path / "front.png")
    figure = figures[0]
    legend = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    written = "\n".join(text.get_text() for text in figure.texts)
    assert legend[:3] == ["Pareto front", "bicubic: 28.42", "budget: 0.2"]
    assert PSNR.protocol in written
    assert MACS.protocol in written
    assert "hypervolume 0.32 from the reference point (0.2, 28.42 dB): cost at the budget" in written


@pytest.mark.parametrize(("lowest", "scale"), [(1e6, "log"), (1.5e7, "linear")])
def test_wide_spans_of_cost_are_logarithmic(tmp_path, figures, lowest, scale):
    draw(tmp_path / "front.png", lowest=lowest)
    assert figures[0].axes[0].get_xscale() == scale


@pytest.mark.parametrize("lowest", [1e5, 1e6, 1e8])
def test_texts_lie_inside_and_do_not_overlap(tmp_path, figures, lowest):
    draw(tmp_path / "front.png", lowest=lowest, title="A title that is much longer than it should be " * 3)
    figure = figures[0]
    axes = figure.axes[0]
    texts = [*figure.texts, axes.xaxis.label, axes.yaxis.label, *axes.get_legend().get_texts()]
    texts += [tick for tick in (*axes.get_xticklabels(), *axes.get_yticklabels()) if tick.get_text()]
    shown = [text for text in texts if text.get_text().strip()]
    boxes = {text.get_text(): text.get_window_extent() for text in shown if _in_view(axes, text)}
    for name, box in boxes.items():
        assert box.x0 >= 0 and box.x1 <= 1200 and box.y0 >= 0 and box.y1 <= 800, name  # noqa: PT018
    for (one, a), (two, b) in combinations(boxes.items(), 2):
        assert not a.overlaps(b), (one, two)


def _in_view(axes, text) -> bool:
    ticks = {*axes.get_xticklabels(), *axes.get_yticklabels()}
    if text not in ticks:
        return True
    box, frame = text.get_window_extent(), axes.get_window_extent()
    middle = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return frame.x0 <= middle[0] <= frame.x1 or frame.y0 <= middle[1] <= frame.y1


def test_an_empty_study_can_be_drawn(tmp_path, figures):
    assert plot_front(tmp_path / "empty.png", (), front_of([]), **NAMES).exists()
    assert "no complete trial yet" in [text.get_text() for text in figures[0].texts]


def test_rare_kinds_share_a_colour(tmp_path, figures):
    """Unless they are on the front."""
    labels = [f"kind {n % 9}" for n in range(36)] + [
        "odd",
        "rare",
        "rare",
        "rare",
    ]  # the last three are members
    draw(tmp_path / "front.png", labels=labels)
    legend = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert "rare" in legend
    assert "odd" not in legend
    assert len([label for label in legend if label.startswith(("kind", "rare"))]) == len(COLOURS)
    assert legend[-1] == "other kinds"


@pytest.fixture
def staged():
    """A published network, two pruned from it and not yet trained, their distilled children, and two searched."""
    made = [
        ("published", None, 2e8, 32.0),
        ("prune", 0, 1e8, 12.0),
        ("distil", 1, 1e8, 31.5),
        ("prune", 0, 0.6e8, 9.0),
        ("distil", 3, 0.6e8, 30.5),
        ("search", None, 0.3e8, 29.5),
        ("search", None, 1.9e8, 29.0),
    ]
    drawn = tuple(Point(n, n, str(n), c, q) for n, (_, _, c, q) in enumerate(made))
    members = tuple(drawn[n] for n in (5, 4, 2, 0))
    found = Front(members, drawn, MACS, PSNR, REFERENCE, 3e8)
    stages, parents = [m[0] for m in made], {n: m[1] for n, m in enumerate(made) if m[1] is not None}
    return drawn, found, {"stages": stages, "parents": parents, "baseline": ("bicubic", 28.42), **NAMES}


def test_stages_have_marks_and_lineages_arrows(tmp_path, figures, staged):
    drawn, found, options = staged
    plot_front(tmp_path / "front.png", drawn, found, floor=("rfdn", 31.0), **options)
    axes = figures[0].axes[0]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend[:3] == ["Pareto front", "bicubic: 28.42", "at least 31.00: rfdn"]
    assert legend[3:6] == ["published", "search", "distil"]  # none that was only pruned is in view
    arrows = [child for child in axes.get_children() if isinstance(child, FancyArrowPatch)]
    ends = [tuple(map(tuple, arrow._posA_posB)) for arrow in arrows]
    assert sorted(ends) == [((2e8, 32.0), (0.6e8, 30.5)), ((2e8, 32.0), (1e8, 31.5))]


def test_networks_just_pruned_do_not_squeeze_the_others(tmp_path, figures, staged):
    drawn, found, options = staged
    plot_front(tmp_path / "front.png", drawn, found, **options)
    axes = figures[0].axes[0]
    assert 27 < axes.get_ylim()[0] < 28.42
    assert "2 far below" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_a_network_just_pruned_is_shown_where_it_is_as_good_as_others(tmp_path, figures, staged):
    drawn, found, options = staged
    drawn = (drawn[0], replace(drawn[1], quality=30.0), *drawn[2:])
    plot_front(tmp_path / "front.png", drawn, found, **options)
    axes = figures[0].axes[0]
    assert "prune" in [text.get_text() for text in axes.get_legend().get_texts()]
    arrows = [child for child in axes.get_children() if isinstance(child, FancyArrowPatch)]
    assert len(arrows) == 3  # published to pruned to distilled, and past the other one


def test_labels_must_match_the_points(tmp_path):
    with pytest.raises(ValueError, match="got 1 for 40"):
        draw(tmp_path / "front.png", labels=["one"])
    with pytest.raises(ValueError, match="expected one stage per point, got 1 for 40"):
        draw(tmp_path / "front.png", stages=["search"])
    assert not (tmp_path / "front.png").exists()


@pytest.mark.parametrize(("count", "legend"), [(3, True), (30, False)])
def test_curves(tmp_path, figures, count, legend):
    curves = {f"trial {n}": [(100, 28 + n / 10), (400, 29 + n / 10)] for n in range(count)}
    assert Image.open(plot_curves(tmp_path / "curves.png", curves)).size == (1200, 800)
    axes = figures[0].axes[0]
    assert len(axes.lines) == count
    assert (axes.get_legend() is not None) == legend
    assert f"{count} trials" in [text.get_text() for text in figures[0].texts]


def test_a_curve_states_its_protocol(tmp_path, figures):
    plot_curves(tmp_path / "curve.png", {"trial 3": [(100, 28.0)]}, protocol="psnr_y: Y, 8-bit")
    assert "psnr_y: Y, 8-bit  |  1 trial" in [text.get_text() for text in figures[0].texts]


def test_global_state_is_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    draw(tmp_path / "front.png")
    assert dict(matplotlib.rcParams) == before
