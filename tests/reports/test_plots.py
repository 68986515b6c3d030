import base64
import io
import re
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Lorentz, Sphere
from hyperclip_jax.reports import maps, plots


def points(distances, curv, dim=5, seed=0):
  """Points at the given distances from the root, in random directions."""
  directions = np.random.default_rng(seed).normal(size=(len(distances), dim))
  directions /= np.linalg.norm(directions, axis=1, keepdims=True)
  reach = np.sinh(curv**0.5 * np.asarray(distances)) / curv**0.5
  return (directions * reach[:, None]).astype(np.float32)


@pytest.mark.parametrize("curv", [0.1, 1.0, 2.5])
def test_disk_radii_are_those_of_the_true_distances(curv):
  d = np.array([0, 0.3, 1, 4])
  embeddings = {"text": points(d, curv), "image": points(2 * d, curv, seed=1)}
  space = Lorentz(curv)
  found = norms.distances(space, embeddings)
  np.testing.assert_allclose(found["image"], 2 * d, rtol=1e-6)
  disk, share = maps.disk_coordinates(embeddings, space)
  radii = np.linalg.norm(disk["text"], axis=1)
  np.testing.assert_allclose(radii, np.tanh(curv**0.5 * d / 2), rtol=1e-6)
  assert 0 < share < 1


def test_directions_in_a_plane_keep_their_angles():
  turn = np.arange(8) * np.pi / 4
  tangents = np.zeros((8, 6))
  tangents[:, 2], tangents[:, 4] = np.cos(turn), np.sin(turn)
  disk, share = maps.disk_coordinates({"image": tangents}, Lorentz(1.0))
  assert share == pytest.approx(1)
  z = disk["image"] / np.linalg.norm(disk["image"], axis=1, keepdims=True)
  np.testing.assert_allclose(z @ z.T, tangents @ tangents.T, atol=1e-9)


def test_cosine_distances_are_from_the_mean_of_all_kinds():
  embeddings = {"image": np.eye(2)[:1], "text": np.eye(2)[1:]}
  found = norms.distances(Sphere(), embeddings)
  assert found["image"] == pytest.approx(1 - 0.5**0.5)
  assert found["text"] == pytest.approx(1 - 0.5**0.5)


def axes_of(figure) -> list[Any]:
  return figure.axes


def disk_distance(a, b):
  gap = np.sum((a - b) ** 2, axis=-1)
  room = (1 - np.sum(a**2, axis=-1)) * (1 - np.sum(b**2, axis=-1))
  return np.arccosh(1 + 2 * gap / room)


def test_geodesics_are_shortest_paths():
  a, b = np.array([0.7, 0.1]), np.array([-0.2, 0.8])
  path = maps.geodesic([a, b])
  np.testing.assert_allclose(path[[0, -1]], [a, b], atol=1e-12)
  length = disk_distance(path[:-1], path[1:]).sum()
  assert length == pytest.approx(disk_distance(a, b), rel=1e-9)
  straight = a + np.linspace(0, 1, 33)[:, None] * (b - a)
  assert disk_distance(straight[:-1], straight[1:]).sum() > 1.05 * length


def test_histograms_count_everything_over_shared_bins():
  distances = {
    "image": np.array([2.0, 2.0, np.nan, 3.0]),
    "text": np.array([1.0, 1.5]),
  }
  medians = {"image_median": 2.0, "text_median": 1.25}
  figure = plots.distance_histograms(norms.bins(distances) | medians)
  text, image = axes_of(figure)  # From the root outwards.
  for axes, count in ((text, 2), (image, 3)):
    (steps,) = axes.patches
    heights, edges, _ = steps.get_data()
    assert sum(heights) == count
    assert (edges[0], edges[-1]) == (1.0, 3.0)
  assert image.lines[0].get_xdata()[0] == 2.0
  assert "2" in image.get_ylabel()
  assert "images" in image.get_ylabel()


def test_series_sorts_and_takes_the_last_of_repeated_steps():
  history = [
    {"step": 20, "loss": 2.0},
    {"step": 10, "loss": None},
    {"step": 30, "curv": 1.0},
    {"step": 20, "loss": 1.5},
  ]
  steps, values = plots.series(history, "loss")
  np.testing.assert_array_equal(steps, [10, 20])
  np.testing.assert_array_equal(values, [np.nan, 1.5])


def test_curves_mark_values_that_are_not_finite():
  history = [{"step": i, "loss": 1.0 + i} for i in range(200)]
  history[50]["loss"] = float("nan")
  history[60]["loss"] = float("inf")
  (axes,) = axes_of(plots.curves(history, ["loss"]))
  raw, smooth, crosses = axes.lines
  np.testing.assert_array_equal(crosses.get_xdata(), [50, 60])
  assert np.isnan(raw.get_ydata()[60])
  # The average of a straight line is that line, gaps next to it aside.
  np.testing.assert_allclose(smooth.get_ydata()[100:190], range(101, 191))
  assert np.isfinite(smooth.get_ydata()).all()


def test_metrics_of_a_kind_have_its_colour():
  history = [{"step": 1, "eval/box_text_mean": 1.0, "eval/text_mean": 2.0}]
  (axes,) = axes_of(plots.curves(history, list(history[0])[1:]))
  colours = [line.get_color() for line in axes.lines[::2]]
  assert colours == [
    plots.KINDS["box_text"].colour,
    plots.KINDS["text"].colour,
  ]


LOSSES = (
  "loss",
  "contrastive_loss",
  "entailment_loss",
  "box_text_image_entailment_loss",
  "cross_image_entailment_loss",
  "cross_text_entailment_loss",
  "text_image_entailment_loss",
)


@pytest.mark.parametrize("names", [LOSSES, [f"eval/r{i}" for i in range(12)]])
def test_a_legend_lies_within_the_figure_and_lines_differ(names):
  history = [{"step": i, **dict.fromkeys(names, 1.0)} for i in (1, 2)]
  figure = plots.curves(history, names, "loss")
  figure.draw_without_rendering()
  (legend,) = figure.legends
  box, canvas = legend.get_window_extent(), figure.bbox
  assert canvas.x0 <= box.x0 < box.x1 <= canvas.x1
  assert canvas.y0 <= box.y0 < box.y1 <= canvas.y1
  (axes,) = axes_of(figure)
  assert not box.overlaps(axes.get_window_extent())
  looks = {(x.get_color(), x.get_linestyle()) for x in axes.lines[::2]}
  assert len(looks) == len(names)
  assert axes.get_ylabel() == "loss"


@pytest.mark.parametrize("count", [2, 5, 6])
def test_few_lines_are_named_at_their_ends(count):
  names = LOSSES[:count]
  history = [{"step": i, **dict.fromkeys(names, 1.0 / i)} for i in (1, 2)]
  figure = plots.curves(history, names, "loss")
  figure.draw_without_rendering()
  assert not figure.legends
  (axes,) = axes_of(figure)
  texts = {text.get_text().replace("\n", " "): text for text in axes.texts}
  assert {*texts} == {plots._label(name) for name in names}
  colours = {line.get_label(): line.get_color() for line in axes.lines}
  boxes = []
  for name, text in texts.items():
    assert text.get_color() == colours[name]
    box = text.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    assert box.x0 >= axes.get_window_extent().x1
    assert not any(box.overlaps(other) for other in boxes)
    boxes.append(box)


@given(
  st.lists(st.tuples(st.floats(-0.5, 1.5), st.floats(0.01, 0.2)), max_size=5)
)
def test_names_are_spread_without_overlaps(rows):
  rows.sort()
  wanted, heights = [w for w, _ in rows], [h for _, h in rows]
  found = plots.spread(wanted, heights)
  edge = 0.0
  for place, height in zip(found, heights, strict=True):
    assert place - height / 2 >= edge - 1e-9
    edge = place + height / 2
  assert edge <= 1 + 1e-9


def test_any_figure_is_opaque_in_a_page():
  uri = plots.data_uri(Figure(facecolor="none"))
  source = base64.b64decode(uri.partition(",")[2]).decode()
  (ground,) = re.findall(r'id="patch_1">\s*<path [^>]*style="([^"]*)"', source)
  assert ground == "fill: #ffffff"


@pytest.mark.parametrize("space", [Lorentz(1.0), Sphere()])
def test_figures_are_opaque(space):
  embeddings = {
    "image": points(np.ones(3), 1.0),
    "text": points([1, 2, 3], 1.0),
  }
  distances = norms.distances(space, embeddings)
  medians = {"image_median": 1.0, "text_median": 1.0}
  for figure in (
    plots.curves([{"step": 1, "loss": 1.0}], ["loss"]),
    maps.embedding_map(embeddings, space)[0],
    plots.distance_histograms(norms.bins(distances) | medians),
  ):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    alpha = np.asarray(PIL.Image.open(buffer).convert("RGBA"))[..., 3]
    assert alpha.min() == 255


@pytest.mark.parametrize("space", [Lorentz(1.0), Sphere()])
def test_the_map_joins_what_entails_to_what_is_entailed(space):
  embeddings = {
    kind: points(np.full(3, i + 1.0), 1.0, seed=i)
    for i, kind in enumerate(plots.KINDS)
  }
  figure, _ = maps.embedding_map(embeddings, space)
  (axes,) = axes_of(figure)
  lines = [line for line in axes.lines if len(line.get_xdata()) > 1]
  assert len(lines) == 3 * len(maps.EDGES)
  del embeddings["box_image"]
  (axes,) = axes_of(maps.embedding_map(embeddings, space)[0])
  lines = [line for line in axes.lines if len(line.get_xdata()) > 1]
  assert len(lines) == 3 * 2


def test_data_uris_repeat_and_hold_no_date():
  def draw():
    return plots.data_uri(plots.curves([{"step": 1, "loss": 1.0}], ["loss"]))

  assert draw() == draw()
  head, _, body = draw().partition(",")
  assert head == "data:image/svg+xml;base64"
  assert b"dc:date" not in base64.b64decode(body)


def test_dashed_lines_share_the_colour_and_label_of_their_partner():
  names = [f"eval/cones/{k}/{m}" for k in "ab" for m in ("inside", "shuffled")]
  history = [{"step": i, **dict.fromkeys(names, 1.0 / i)} for i in (1, 2)]
  partners = {
    f"eval/cones/{k}/shuffled": f"eval/cones/{k}/inside" for k in "ab"
  }
  labels = {f"eval/cones/{k}/inside": f"relation {k}" for k in "ab"}
  figure = plots.curves(history, names, "", labels, partners)
  (axes,) = axes_of(figure)
  assert {text.get_text() for text in axes.texts} == {
    "relation a",
    "relation b",
  }
  looks = [(x.get_color(), x.get_linestyle()) for x in axes.lines[::2]]
  solid, dashed = looks[:2], looks[2:]
  assert [colour for colour, _ in solid] == [colour for colour, _ in dashed]
  assert len({*solid, *dashed}) == 4


def test_a_line_that_ends_early_is_named_at_its_end():
  history = [
    {"step": i, "long": 1.0, **({"short": 2.0} if i < 4 else {})}
    for i in range(10)
  ]
  (axes,) = axes_of(plots.curves(history, ["long", "short"]))
  places = {text.get_text(): text.xy for text in axes.texts}
  assert places["short"] == (3, 2)
  assert places["long"][0] > 1  # a fraction of the axes


def test_the_map_of_gaussians_is_of_their_means():
  rng = np.random.default_rng(0)
  means = rng.normal(size=(20, 4)).astype(np.float32)
  wide = rng.normal(-5, 9, (20, 4)).astype(np.float32)
  rows = {"text": np.concatenate([means, wide], axis=1)}
  found, share = maps.positions(rows, Gaussian())
  plain, wanted = maps.positions({"text": means}, Sphere())
  np.testing.assert_allclose(found["text"], plain["text"], atol=1e-6)
  assert share == pytest.approx(wanted)


def test_any_number_of_lines_is_drawn():
  names = [f"eval/uncertainty/depth_{i}" for i in range(40)]
  history = [{"step": i, **dict.fromkeys(names, 1.0 / i)} for i in (1, 2)]
  (axes,) = axes_of(plots.curves(history, names))
  assert len(axes.lines) == 2 * len(names)  # each with its crosses
