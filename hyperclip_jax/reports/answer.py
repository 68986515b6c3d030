"""Renders the exploration of one picture as the body of a page."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from hyperclip_jax.checkpoints.card import About
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.evals import held_out
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.geometry.spaces import Lorentz, Space
from hyperclip_jax.inference.explore import Answer, Things
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.reports import (
  cones,
  maps,
  markup,
  measures,
  page,
  plots,
  uncertainty,
)
from hyperclip_jax.reports.markup import (
  Markup,
  counts,
  figure,
  note,
  shortened,
  tag,
)

MOST_CONES, MOST_BARS = 8, 16
LABELS = 16  # nearest phrases that stand out on the map
PLANE = ("text",)  # kind that chooses the plane of the map
MARKER = 3.5  # half the side of a marker in points
# Sides of a marker where its label may be: offset in points, and alignment.
SIDES = (
  ((5, 0), "left", "center"),
  ((-5, 0), "right", "center"),
  ((0, 5), "center", "bottom"),
  ((0, -5), "center", "top"),
  ((4, 4), "left", "bottom"),
  ((4, -4), "left", "top"),
  ((-4, 4), "right", "bottom"),
  ((-4, -4), "right", "top"),
)

SOFTMAX = (
  "with the model's softmax over all of them, which is large where the nearest "
  "is much nearer than the others"
)

# Style of reports, limited to answers, for use inside another page.
STYLE = f"""
.answer {{ {markup.STYLE.replace(":root", "&")}
  section:first-child {{ margin-top: 0; }}
  .narrow {{ max-width: 560px; margin: auto; }}
  .counts {{ width: 100%; }}
  .counts, .counts tr {{ border: 0 !important; }}
  .counts tr > * {{ border: 0; background: none; }}
  .counts tr + tr > * {{ border-top: 1px solid var(--line); }}
  .walk li {{ margin: 0; }}
  .problem {{
    margin: 0; padding: 1rem; border-radius: 12px;
    background: #fdecea; color: #8a1c12;
  }}
}}
"""


def tables(
  model: HyperCLIP,
  picture: Pixels,
  phrases: Sequence[str],
  things: Things,
  found: Answer,
) -> Markup:
  """Renders the sections that take no time: nearest entries, and the walk.

  Args:
    model: model that was used.
    picture: uint8 pixels (height, width, 3).
    phrases: phrases that were compared.
    things: further entries that were compared.
    found: result of `explore`.

  Returns:
    HTML.
  """
  return _sections(
    {
      "Nearest texts": _nearest(model, phrases, things, found),
      "The way to the root": _walk(model, picture, phrases, things, found),
    }
  )


def figures(model: HyperCLIP, phrases: Sequence[str], found: Answer) -> Markup:
  """Renders the sections that are drawn: map, and cones or uncertainty.

  Args:
    model: model that was used.
    phrases: phrases that were compared.
    found: result of `explore`.

  Returns:
    HTML.
  """
  last = {"Cones": _cones(model, found)}
  if isinstance(model.space, Gaussian):
    last = {"Uncertainty": _uncertainty(model.space, phrases, found)}
  return _sections({"Map": _map(model, phrases, found)} | last)


def _sections(sections: Mapping[str, Sequence[Markup]]) -> Markup:
  return tag(
    "div",
    *(
      tag("section", tag("h2", name), *parts)
      for name, parts in sections.items()
    ),
    cls="answer",
  )


def trained(about: About) -> Markup:
  """Renders what a model card tells about the data and the results."""
  results = "; ".join(
    f"{measures.title(f'{held_out.HELD_OUT}/{name}')} {about.numbers[name]:.3g}"
    for name in held_out.SUMMARY
    if name in about.numbers and not name.startswith("cones/")
  )
  told = {"Trained on": about.data, "On held-out data": results}
  notes = [note(f"{name}: {text}") for name, text in told.items() if text]
  return tag("div", *notes, cls="answer")


def problem(text: str) -> Markup:
  """Renders an error for the user."""
  return tag("div", tag("p", text, cls="problem", role="alert"), cls="answer")


def _nearest(
  model: HyperCLIP, phrases: Sequence[str], things: Things, found: Answer
) -> list[Markup]:
  """Makes a table of the nearest phrases, and one of texts of the index."""
  head = ("", "probability", model.space.distance_name)
  texts = sum(picture is None for picture in things.pictures)
  parts = []
  for rows, among in (
    (found.texts, f"{texts:,} texts of the index"),
    (found.phrases, f"your {len(phrases)} phrases"),
  ):
    if not rows:
      continue
    rest = "" if parts else f", {SOFTMAX}"
    parts.append(note(f"The nearest {len(rows)} of {among}{rest}:"))
    cells = {
      shortened(row.name): (share(row.probability), f"{row.distance:.3f}")
      for row in rows
    }
    parts.append(counts(cells, head))
  return parts


def _walk(model, picture, phrases, things, found) -> list[Markup]:
  stops = [stop._replace(name=shortened(stop.name)) for stop in found.walk]
  pictures = {
    row: seen
    for row, seen in enumerate(things.pictures, len(phrases))
    if seen is not None
  }
  return [
    note(
      "The geodesic leads from the picture to the root, the most general "
      "point. These entries are nearest along it, each with how much of the "
      "way is left where it first is the nearest. In the middle few entries "
      "are near, and one that is named there may be unrelated."
    ),
    page.walk(page.Traversal(picture, "the picture", stops, pictures)),
  ]


def _map(model: HyperCLIP, phrases, found: Answer) -> list[Markup]:
  if len(phrases) < 2:
    return [note("The map needs at least two phrases.")]
  image, texts = found.embeddings["image"], found.embeddings["text"]
  order = np.argsort(-model.similarity(image, texts)[0], kind="stable")
  drawn, share = labelled_map(
    {"image": image, "text": texts[order]},
    [phrases[i] for i in order[:LABELS]],
    model.space,
  )
  text = (
    "The Poincaré disk, as far as there is something to see (its rim is "
    "infinitely far away): the root is in the middle. Distances from it are "
    "exact (rings); a line joins the nearest of your phrases to the picture; "
    f"angles are approximate and show {share:.0%} of the variance of the "
    "directions of your phrases."
    if isinstance(model.space, Lorentz)
    else f"The first two principal components of your phrases explain "
    f"{share:.0%} of their variance."
  )
  uri = plots.data_uri(drawn)
  alt = "Map of the picture and the phrases"
  return [tag("div", figure(uri, "", alt, text), cls="narrow")]


@matplotlib.rc_context(plots.STYLE)
def labelled_map(
  embeddings: plots.Embeddings,
  names: Sequence[str],
  space: Space,
) -> tuple[Figure, float]:
  """Draws `maps.embedding_map` with labels of the first texts, where they fit.

  The first texts have markers that stand out; a label touches its marker. The
  texts alone choose the plane, so that they stay where they are when the
  picture changes.

  Args:
    embeddings: lifted points of the kinds "image" and "text".
    names: labels of the first texts.
    space: space of the embeddings.

  Returns:
    Figure, and the fraction of variance that it shows.
  """
  drawn, share = maps.embedding_map(embeddings, space, PLANE)
  places, _ = maps.positions(embeddings, space, PLANE)
  (axes,) = drawn.axes
  FigureCanvasAgg(drawn)  # measures texts
  layout = drawn.get_layout_engine()
  if layout is not None:
    layout.execute(drawn)  # settles where the axes lie
  drawn.set_layout_engine("none")
  axes.apply_aspect()
  view = axes.get_window_extent()
  marks = [_square_at(axes, place) for place in places["text"][: len(names)]]
  taken = [_square_at(axes, place) for place in places["image"]]
  taken += [text.get_window_extent() for text in axes.texts]  # of the rings
  taken += [
    _square_at(axes, place, 1.0)
    for line in axes.lines
    for place in np.asarray(line.get_xydata())
  ]
  for name, place, mark in zip(names, places["text"], marks, strict=False):
    others = [*taken, *(box for box in marks if box is not mark)]
    label = axes.annotate(
      shortened(name, cones.TITLE),
      tuple(place),
      (0, 0),
      textcoords="offset points",
      fontsize=9,
      zorder=6,
    )
    for offset, across, upright in SIDES:
      label.set(position=offset, ha=across, va=upright)
      box = label.get_window_extent()
      inside = view.x0 <= box.x0 and box.x1 <= view.x1
      if inside and not any(box.overlaps(other) for other in others):
        break
    else:
      label.remove()
      continue
    taken += [box, mark]
  look = plots.KINDS["text"]
  axes.scatter(
    *places["text"][: len(names)].T,
    s=44,
    marker=look.marker,
    color=look.colour,
    edgecolors="white",
    linewidths=0.8,
    zorder=5,
  )
  return drawn, share


def _square_at(axes: Axes, place: np.ndarray, half: float = MARKER) -> Bbox:
  """Returns the pixels that a marker covers, of half a side in points."""
  x, y = axes.transData.transform(place)
  half *= axes.figure.dpi / 72
  return Bbox([[x - half, y - half], [x + half, y + half]])


def _uncertainty(
  space: Gaussian, phrases: Sequence[str], found: Answer
) -> list[Markup]:
  """Draws the uncertainty of the phrases that include the picture most."""
  image, texts = found.embeddings["image"], found.embeddings["text"]
  tests = space.inclusion(texts, image)
  wide = space.uncertainty(texts)
  chosen = np.argsort(-tests, kind="stable")[:MOST_BARS]
  chosen = chosen[np.argsort(-wide[chosen], kind="stable")]
  look, pale = plots.KINDS["text"].colour, plots.FAINT
  bars = [
    uncertainty.Bar(
      shortened(phrases[int(i)], cones.TITLE),
      float(wide[i]),
      look if tests[i] > 0 else pale,
    )
    for i in chosen
  ]
  own = float(space.uncertainty(image)[0])
  bars.append(uncertainty.Bar("the picture", own, plots.KINDS["image"].colour))
  text = (
    f"{np.sum(tests > 0)} of {len(phrases)} phrases (orange) include the "
    "picture (blue) more than it includes them. General phrases should be more "
    "uncertain than special ones, and these than the picture."
  )
  if len(chosen) < len(phrases):
    text += f" Drawn are the {len(chosen)} that include it most."
  uri = plots.data_uri(uncertainty.bars(bars))
  alt = "Uncertainty of the phrases and of the picture"
  return [note(text), tag("div", figure(uri, "", alt), cls="narrow")]


def share(probability: float) -> str:
  """Formats a probability; a tiny one is not shown as 0.0%.

  Examples:
    >>> share(0.376), share(2e-5)
    ('37.6%', '<0.1%')
  """
  return f"{probability:.1%}" if probability >= 1e-3 else "<0.1%"


def _cones(model: HyperCLIP, found: Answer) -> list[Markup]:
  if not model.space.cones:
    return [note("This model's space has no cones.")]
  holding = sum(cone.margin <= 0 for cone in found.cones)
  text = f"{holding} of {len(found.cones)} phrases entail the picture"
  if not holding:
    clearest = found.cones[0]
    text = (
      f"None of the {len(found.cones)} phrases entails the picture. A phrase "
      "entails it if the picture, as a special case, lies in the cone behind "
      "the phrase; this one lies outside of every cone. The nearest to hold it "
      f"is that of “{shortened(clearest.phrase)}”, missed by "
      f"{np.degrees(clearest.margin):.0f}°. Their order still tells which "
      "phrases fit better: training opens cones slowly, and only as far as its "
      "entailment weight asks"
    )
  else:
    wide = np.degrees([cone.aperture for cone in found.cones])
    text = (
      f"Half apertures of these cones are {wide.min():.0f}° to "
      f"{wide.max():.0f}°. At 90°, near the root, a cone is a half-space and "
      "holds much that is unrelated, too: the degrees tell more than inside or "
      f"outside. {text}"
    )
  if not isinstance(model.space, Lorentz):
    return [
      note(
        f"{text}; on average over the factors of this model's space, which has "
        "too many dimensions to draw."
      )
    ]
  if len(found.cones) > MOST_CONES:
    text += f". Drawn are the {MOST_CONES} clearest"
  drawn = found.cones[:MOST_CONES]
  uri = plots.data_uri(cones.cones(drawn, model.space))
  radius, far = cones.border(drawn, model.space), ""
  if radius < 1:
    distance = model.space.disk_distance(radius)
    far = f", up to a distance of {distance:.2g} from the root"
  return [
    note(
      f"{text}. A picture (blue) that is entailed lies in the shaded cone "
      "behind the phrase (orange). Each disk is the plane through root, phrase "
      f"and picture{far}, and is exact. The clearest entailment comes first."
    ),
    figure(uri, "", "Entailment cones of phrases, and the picture"),
  ]
