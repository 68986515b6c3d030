"""A page about the embedding of a hierarchy: measures, and a map of it."""

import pathlib
from collections.abc import Mapping

import matplotlib
import numpy as np
from jaxtyping import Float, Int
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from hyperclip_jax.files import shown, write_whole
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.reports import maps, plots
from hyperclip_jax.reports.markup import document, facts, figure, note, tag
from hyperclip_jax.reports.plots import FAINT, KINDS, STYLE
from hyperclip_jax.trees.closure import Closure
from hyperclip_jax.trees.saved import Embedding

EDGES, NAMED = 1_000, 12


def write_report(
  path: pathlib.Path,
  found: Embedding,
  closure: Closure,
  measures: Mapping[str, float],
  history: plots.History,
) -> None:
  """Writes the page.

  Args:
    path: HTML file to write, atomically.
    found: embedding.
    closure: relation that was embedded.
    measures: numbers of `trees.measures`.
    history: rows of "step" (epochs), "loss", "map" and "mean_rank".
  """
  o, title = found.options, "Embedding of a hierarchy"
  drawn, share = tree_map(found.points, o.curv, closure)
  known = {
    "nodes": f"{len(closure.names):,}",
    "pairs": f"{len(closure.pairs):,}",
    "dimension": str(o.dim),
    "curvature": f"-{o.curv:g}",
    "epochs": f"{found.epochs:,}",
    "MAP": f"{measures['map']:.4f}",
    "mean rank": f"{measures['mean_rank']:.3f}",
  }
  lines = [["loss"], ["map"], ["mean_rank"]]
  page = document(
    title,
    tag("h1", title),
    facts(known),
    figure(
      plots.data_uri(drawn),
      "Poincare disk",
      "map of the nodes",
      "Lines join nodes to the nearest above them; named are those with the "
      "most below. Distances from the root are exact"
      + (f"; angles show {share:.0%} of the directions." if share < 1 else "."),
    ),
    *(
      figure(plots.data_uri(plots.curves(history, names)), names[0], names[0])
      for names in lines
      if len(history) > 1
    ),
    note(
      "MAP and mean rank are those of the nodes above each node among all "
      "others, by distance (Nickel and Kiela, 2017)."
    ),
  )
  write_whole(path, page, errors="replace")


@matplotlib.rc_context(STYLE)
def tree_map(
  points: Float[np.ndarray, "nodes dim"], curv: float, closure: Closure
) -> tuple[Figure, float]:
  """Draws nodes on the Poincare disk, joined to the nearest above them.

  Args:
    points: points of the Lorentz model.
    curv: c, where the curvature is -c.
    closure: relation of the nodes.

  Returns:
    Figure, and the share of the variance of directions that it shows.
  """
  space = Lorentz(curv)
  flat, share = coordinates(points, space)
  below = np.bincount(closure.pairs[:, 1], minlength=len(flat))
  largest = np.argsort(-below, kind="stable")
  figure = Figure(figsize=(7, 7))
  axes = figure.subplots()
  axes.set_aspect("equal")
  lines = [
    maps.geodesic([flat[a], flat[b]]) for a, b in _edges(closure, largest)
  ]
  axes.add_collection(
    LineCollection(lines, colors=FAINT, linewidths=0.6, zorder=1)
  )
  colour = KINDS["image"].colour
  axes.scatter(*flat.T, s=6, color=colour, alpha=0.6, linewidths=0, zorder=2)
  for node in largest[:NAMED]:
    x, y = flat[node].tolist()
    axes.annotate(shown(closure.names[node], 24), (x, y), fontsize=8, zorder=3)
  maps.disk_frame(axes, {"nodes": flat}, space)
  return figure, share


def coordinates(
  points: Float[np.ndarray, "nodes dim"], space: Lorentz
) -> tuple[Float[np.ndarray, "nodes 2"], float]:
  """Places points on the disk: exactly in two dimensions, else by directions.

  Args:
    points: points of the Lorentz model.
    space: their space.

  Returns:
    Places, and the share of the variance of directions that they show.
  """
  if points.shape[1] == 2:
    k_t = np.sqrt(1 + space.curv * np.sum(points**2, axis=1))
    return np.sqrt(space.curv) * points / (1 + k_t)[:, None], 1.0
  if points.shape[1] == 1:
    points = np.pad(points, ((0, 0), (0, 1)))
    return coordinates(points, space)
  found, share = maps.disk_coordinates({"nodes": points}, space)
  return found["nodes"], share


def _edges(
  closure: Closure, largest: Int[np.ndarray, "nodes"]
) -> list[tuple[int, int]]:
  """Pairs of a node and the nearest above it, those with most below first."""
  nearest = closure.above()[:, 0]
  return [
    (int(node), int(nearest[node]))
    for node in largest[:EDGES]
    if nearest[node] >= 0
  ]
