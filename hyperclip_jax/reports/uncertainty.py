"""Draws how uncertain a model is at each depth, and what includes what."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from hyperclip_jax.evals.rates import ERROR
from hyperclip_jax.reports.markup import Markup, figure, note, tag
from hyperclip_jax.reports.plots import INK, KINDS, STYLE, data_uri

ABOUT = (
  "Images and texts are Gaussians here. What is more general should be more "
  "uncertain: the bars of the first figure should fall from the root of the "
  "hierarchy to its leaves, and to images. In the second, points right of the "
  "dashed line, which is chance, say that the general more often includes the "
  "specific than the other way round. Lines are two standard errors."
)
RELATIONS = {
  "box_text_text": "phrase > its caption",
  "text_image": "caption > its image",
  "box_text_box_image": "phrase > its box",
  "box_image_image": "box > its image",
  "parent_child": "concept > its children",
}


class Bar(NamedTuple):
  """Uncertainty of something.

  Attributes:
    label: what it is.
    value: sum of the variances.
    colour: colour of the bar.
    error: standard error of the value.
  """

  label: str
  value: float
  colour: str
  error: float = 0.0


def section(results: Mapping[str, float]) -> list[Markup]:
  """Draws the figures of `evals.metrics.inclusion`.

  Args:
    results: final results without the name of the sample.

  Returns:
    A note and figures; nothing for a model without uncertainty.
  """
  if not any(name.startswith("uncertainty/") for name in results):
    return []
  return [
    note(ABOUT),
    tag(
      "div",
      figure(
        data_uri(depths(results)),
        "Uncertainty by depth",
        "Bars of the mean uncertainty of each kind and depth",
        "Sum of the variances of a Gaussian, mean over texts or images. Depth "
        "is the number of edges below the root of the hierarchy of concepts.",
      ),
      figure(
        data_uri(inclusions(results)),
        "What includes what",
        "Share of pairs whose general side includes the specific one",
        "Pairs whose first side includes the second more than the other way "
        "round. Concepts are paired with images of theirs by their depth.",
      ),
      cls="panels",
    ),
  ]


def depths(results: Mapping[str, float]) -> Figure:
  """Draws bars of the mean uncertainty by depth, and by kind of input.

  Args:
    results: "uncertainty/depth_D" and "uncertainty/KIND", with errors.

  Returns:
    Figure.
  """
  text, image = KINDS["text"].colour, KINDS["image"].colour
  rows = [
    (f"depth {depth}", f"depth_{depth}", text)
    for depth in _depths(results, r"uncertainty/depth_(\d+)")
  ]
  rows += [("objects", "depth_images", image)]
  rows += [(look.label, kind, look.colour) for kind, look in KINDS.items()]
  return bars(
    [
      Bar(
        label,
        results[f"uncertainty/{name}"],
        colour,
        results.get(f"uncertainty/{name}{ERROR}", 0.0),
      )
      for label, name, colour in rows
      if f"uncertainty/{name}" in results
    ]
  )


@matplotlib.rc_context(STYLE)
def bars(found: Sequence[Bar]) -> Figure:
  """Draws bars of uncertainty, one below the other.

  Args:
    found: bars from top to bottom.

  Returns:
    Figure.
  """
  drawn = Figure(figsize=(5, 0.6 + 0.34 * len(found)))
  axes = drawn.subplots()
  places = np.arange(len(found))
  axes.barh(
    places,
    [bar.value for bar in found],
    xerr=2 * np.array([bar.error for bar in found]),
    color=[bar.colour for bar in found],
    error_kw={"ecolor": INK, "elinewidth": 1.2},
    height=0.72,
  )
  axes.set_yticks(places, [bar.label for bar in found])
  axes.invert_yaxis()
  axes.set_xlabel("uncertainty")
  axes.grid(visible=False, axis="y")
  return drawn


@matplotlib.rc_context(STYLE)
def inclusions(results: Mapping[str, float]) -> Figure:
  """Draws the share of pairs in which the general includes the specific.

  Args:
    results: "includes/RELATION", with errors.

  Returns:
    Figure.
  """
  rows = [(text, name) for name, text in RELATIONS.items()]
  rows += [
    (f"depth {depth} > its images", f"depth_{depth}_image")
    for depth in _depths(results, r"includes/depth_(\d+)_image")
  ]
  rows = [row for row in rows if f"includes/{row[1]}" in results]
  values = [results[f"includes/{name}"] for _, name in rows]
  errors = [results.get(f"includes/{name}{ERROR}", 0.0) for _, name in rows]
  drawn = Figure(figsize=(5, 0.6 + 0.34 * len(rows)))
  axes = drawn.subplots()
  places = np.arange(len(rows))
  axes.axvline(0.5, color=INK, linewidth=1, linestyle="--")
  axes.errorbar(
    values,
    places,
    xerr=2 * np.array(errors),
    fmt="o",
    color=KINDS["text"].colour,
    ecolor=INK,
    elinewidth=1.2,
    markersize=7,
  )
  axes.set_yticks(places, [label for label, _ in rows])
  axes.set(xlim=(-0.02, 1.02), xlabel="share of pairs")
  axes.invert_yaxis()
  return drawn


def _depths(results: Mapping[str, float], pattern: str) -> list[int]:
  found = (re.fullmatch(pattern, name) for name in results)
  return sorted(int(match[1]) for match in found if match)
