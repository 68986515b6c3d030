"""Figures of a report: each function takes arrays and returns a Figure.

Colours are safe for colour-blind readers: one of Okabe and Ito's for each kind
of embedding (dark for whole images and captions, light for boxes), Paul Tol's
"muted" for curves.
"""

import base64
import io
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hyperclip_jax.evals.metrics import norms

Embeddings = Mapping[str, np.ndarray]  # kind -> lifted points (rows, dim)
History = Sequence[Mapping[str, Any]]  # rows of metrics.jsonl


class Kind(NamedTuple):
  """Appearance of a kind of embedding."""

  label: str
  colour: str
  marker: str


# in the order in which they should lie, from the root outwards
KINDS = {
  "box_text": Kind("box texts", "#e69f00", "^"),
  "text": Kind("texts", "#d55e00", "^"),
  "box_image": Kind("box images", "#56b4e9", "o"),
  "image": Kind("images", "#0072b2", "o"),
}
# Paul Tol's "muted", most distinct first; dashes if there are more than nine
LINES = (
  *("#332288", "#cc6677", "#117733", "#88ccee", "#aa4499", "#ddcc77"),
  *("#44aa99", "#882255", "#999933"),
)
DASHES = ("-", "--", ":")
LEGEND = 46  # characters that fit in a row of a legend, including its lines
DIRECT = 6  # most lines that are named at their ends instead of in a legend
WIDE, LINE = 16, 0.09  # characters of such a name in a row; its height in axes
EARLY = 0.9  # of the width; a line that ends before is named there
INK, FAINT = "#2b2f36", "#d9dce1"

STYLE: dict[Any, Any] = {
  "axes.axisbelow": True,
  "axes.edgecolor": FAINT,
  "axes.grid": True,
  "axes.labelcolor": INK,
  "axes.spines.right": False,
  "axes.spines.top": False,
  "figure.constrained_layout.use": True,
  "figure.facecolor": "white",  # not transparent: a notebook may be dark
  "font.size": 10,
  "grid.color": "#eceef1",
  "grid.linewidth": 0.8,
  "legend.frameon": False,
  "legend.fontsize": 9,
  "svg.hashsalt": "hyperclip",  # the same input gives the same bytes
  "text.color": INK,
  "text.parse_math": False,  # names of metrics may contain a dollar sign
  "xtick.color": "#6b7280",
  "xtick.labelcolor": INK,
  "ytick.color": "#6b7280",
  "ytick.labelcolor": INK,
}


@matplotlib.rc_context(STYLE)
def data_uri(figure: Figure) -> str:
  """Encodes a figure as an SVG data URI, without dates and random ids.

  Its ground is white: pages may be dark, and its inks are not.
  """
  buffer = io.BytesIO()
  metadata = {"Date": None, "Creator": None}
  ground = STYLE["figure.facecolor"]
  figure.savefig(buffer, format="svg", metadata=metadata, facecolor=ground)
  encoded = base64.b64encode(buffer.getvalue()).decode()
  return f"data:image/svg+xml;base64,{encoded}"


def series(history: History, name: str) -> tuple[np.ndarray, np.ndarray]:
  """Extracts the values of a metric.

  A resumed run writes some steps twice; the later row counts.

  Args:
    history: rows of metrics.jsonl.
    name: name of the metric.

  Returns:
    Steps, and the value at each (NaN for null).
  """
  found = {row["step"]: row[name] for row in history if name in row}
  steps = sorted(found)
  values = [np.nan if found[s] is None else float(found[s]) for s in steps]
  return np.array(steps, float), np.array(values, float)


@matplotlib.rc_context(STYLE)
def curves(
  history: History,
  names: Sequence[str],
  quantity: str = "",
  labels: Mapping[str, str] | None = None,
  partners: Mapping[str, str] | None = None,
) -> Figure:
  """Plots metrics over steps, smoothed when dense; crosses mark NaN and inf.

  Args:
    history: rows of metrics.jsonl.
    names: metrics to draw, one line each.
    quantity: label of the vertical axis, with its unit.
    labels: label of each metric; by default what is left of its name.
    partners: metric that is drawn dashed -> the one whose colour and label it
      shares.

  Returns:
    Figure.
  """
  labels = {name: _label(name) for name in names} | dict(labels or {})
  partners = partners or {}
  named = [name for name in names if name not in partners]
  direct = len(named) <= DIRECT
  columns = _columns([labels[name] for name in named])
  rows = 0 if direct else -(-len(named) // columns)
  figure = Figure(figsize=(4, 2.6 + 0.2 * rows))
  axes = figure.subplots()
  every = itertools.cycle(itertools.product(DASHES, LINES))
  looks = dict(zip(named, every, strict=False))
  ends = {}  # label -> place of the last value, and colour
  for name in [*named, *partners]:
    steps, values = series(history, name)
    finite = np.isfinite(values)
    values = np.where(finite, values, np.nan)
    dash, line = looks[partners.get(name, name)]
    colour, width, alpha = _kind_colour(name) or line, 1.5, 1.0
    if name == "loss":  # broad and pale, since it may cover one of its terms
      colour, width, alpha = INK, 4.5, 0.3
    window = len(values) // 50
    if window > 1:
      axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
      values = _smooth(values, window)
    axes.plot(
      steps,
      values,
      color=colour,
      linestyle="--" if name in partners else dash,
      linewidth=width,
      alpha=alpha,
      marker="" if window > 1 else ".",
      label="_" if name in partners else labels[name],
    )
    last = np.flatnonzero(np.isfinite(values))[-1:]
    if len(last) and name not in partners:
      ends[labels[name]] = float(steps[last[0]]), float(values[last[0]]), colour
    lost, floor = steps[~finite], axes.get_xaxis_transform()
    axes.plot(lost, 0 * lost, "x", color=colour, transform=floor, clip_on=False)
  axes.set_xlabel("step")
  axes.set_ylabel(quantity)
  axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
  axes.xaxis.set_major_formatter(
    lambda step, _: f"{step / 1000:g}k" if step >= 10_000 else f"{step:g}"
  )
  if direct and len(named) > 1:
    _label_ends(axes, ends)
  elif not direct:
    figure.legend(loc="outside upper left", ncols=columns, columnspacing=1.2)
  return figure


def _label_ends(
  axes: Axes, ends: Mapping[str, tuple[float, float, str]]
) -> None:
  """Writes the name of each line at its end, without overlaps.

  Lines that end early are named where they do.

  Args:
    axes: axes with the lines.
    ends: label of each line -> its last step and value, and its colour.
  """
  low, high = axes.get_ylim()
  first, final = axes.get_xlim()
  texts = {
    name: textwrap.fill(name, WIDE, break_long_words=False) for name in ends
  }
  early = {
    name
    for name, (x, _, _) in ends.items()
    if x < first + EARLY * (final - first)
  }
  for name in early:
    x, y, colour = ends[name]
    axes.annotate(
      texts[name],
      (x, y),
      (4, 0),
      textcoords="offset points",
      color=colour,
      fontsize=9,
      linespacing=0.95,
      va="center",
    )
  wanted = {
    name: (y - low) / (high - low)
    for name, (_, y, _) in ends.items()
    if name not in early
  }
  order = sorted(wanted, key=lambda name: wanted[name])
  heights = [LINE * (1 + texts[name].count("\n")) for name in order]
  places = spread([wanted[name] for name in order], heights)
  for name, place in zip(order, places, strict=True):
    axes.annotate(
      texts[name],
      (1.02, place),
      xycoords="axes fraction",
      color=ends[name][2],
      fontsize=9,
      linespacing=0.95,
      va="center",
      annotation_clip=False,
    )


def spread(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
  """Moves places apart, as little as a pass up and one down need.

  Args:
    wanted: places in ascending order.
    heights: room that each takes around its place.

  Returns:
    Places in the same order, whose rooms do not overlap and lie between 0 and
    1, if there is enough room.

  Examples:
    >>> spread([0.5, 0.5], [0.5, 0.5])
    [0.25, 0.75]
  """
  found: list[float] = []
  edge = 0.0
  for place, height in zip(wanted, heights, strict=True):
    found.append(max(place, edge + height / 2))
    edge = found[-1] + height / 2
  edge = 1.0
  for i in reversed(range(len(found))):
    found[i] = min(found[i], edge - heights[i] / 2)
    edge = found[i] - heights[i] / 2
  return found


def _label(name: str) -> str:
  """Shortens a metric's name for a legend to what differs in the panel."""
  name = re.sub(r"^(evals?|train_sample)/", "", name)
  name = re.sub(r"^(root_distance|cones|hierarchy|retrieval)/", "", name)
  return re.sub(r"_(loss|mean)$", "", name).replace("_", " ").replace("/", " ")


def _columns(labels: Sequence[str]) -> int:
  """Returns the number of legend columns that fit the width of a figure."""
  for columns in range(min(3, len(labels)), 1, -1):
    height = -(-len(labels) // columns)  # a legend fills column by column
    widths = [
      max(map(len, labels[start : start + height]))
      for start in range(0, len(labels), height)
    ]
    if sum(widths) + 6 * columns <= LEGEND:
      return columns
  return 1


@matplotlib.rc_context(STYLE)
def distance_histograms(
  found: Mapping[str, Any],
) -> Figure:
  """Draws a histogram for each kind over shared bins, each scaled to its row.

  Args:
    found: results of `evals.metrics.norms`: bin_edges, {kind}_bins,
      {kind}_median.

  Returns:
    Figure.
  """
  kinds = [kind for kind in KINDS if f"{kind}_bins" in found]
  figure = Figure(figsize=(5, 0.7 + len(kinds)))
  rows = figure.subplots(len(kinds), sharex=True, squeeze=False)[:, 0]
  for axes, kind in zip(rows, kinds, strict=True):
    look, median = KINDS[kind], found[f"{kind}_median"]
    axes.stairs(
      found[f"{kind}_bins"],
      found[norms.EDGES],
      fill=True,
      color=look.colour,
      alpha=0.85,
    )
    axes.axvline(median, color=INK, linewidth=1.2)
    axes.set_ylabel(
      f"{look.label}\n{median:.3g}", rotation=0, ha="right", va="center"
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
  rows[-1].set_xlabel("distance from the root")
  return figure


def _kind_colour(name: str) -> str | None:
  """Returns the colour of the kind in a metric of mean distances, or None."""
  for kind, look in KINDS.items():  # boxes first: box_text ends in text
    if re.search(rf"(^|[/_]){kind}_(mean|median)$", name):
      return look.colour
  return None


def _smooth(values: Float[np.ndarray, "n"], window: int):
  """Averages the finite values in a centred window."""
  ones = np.ones(2 * (window // 2) + 1)
  finite = np.isfinite(values)
  total = np.convolve(np.where(finite, values, 0), ones, "same")
  count = np.convolve(finite, ones, "same")
  return np.where(count > 0, total / np.maximum(count, 1), np.nan)
