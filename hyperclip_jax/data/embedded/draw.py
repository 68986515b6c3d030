"""Drawing for the embedded data set: outlines, arrangement, pixels.

Coordinates are in the unit square, x to the right and y down. Points are
complex numbers, so that one product rotates and scales them. Only `render` uses
pixels.
"""

import cmath
import math
import random
from typing import NamedTuple

from PIL import Image, ImageChops, ImageDraw

from hyperclip_jax.data.records.boxes import Box

COLOURS = {
  "red": (222, 32, 32),
  "orange": (248, 140, 16),
  "yellow": (248, 222, 40),
  "green": (34, 160, 62),
  "blue": (36, 84, 226),
  "purple": (132, 44, 172),
  "pink": (250, 134, 196),
  "black": (26, 26, 26),
}
SIZES = {"small": (0.31, 0.37), "large": (0.44, 0.52)}
# A single object fills the scene like the subject of a photograph.
ALONE = {"small": (0.56, 0.64), "large": (0.70, 0.78)}
TEXTURES = {"plain": 2, "striped": 1, "dotted": 1}  # relative frequencies

SUPERSAMPLE = 4
MARGIN = 0.03  # between an object and the border, or the next object
TURN = math.radians(12)  # largest rotation, either way

Points = list[complex]


def _arc(start: float, stop: float, count: int = 32) -> Points:
  step = (stop - start) / count
  return [cmath.exp(1j * (start + step * i)) for i in range(count + 1)]


def _rectangle(width: float, height: float) -> Points:
  corner = complex(width, height) / 2
  return [corner, corner.conjugate(), -corner, -corner.conjugate()]


def _moon(tip: float = 0.85, bite: float = 0.5) -> Points:
  """Makes a disc minus a second one at `bite`; they meet at angles +-`tip`."""
  inner = cmath.exp(1j * tip) - bite
  angle = cmath.phase(inner)
  back = _arc(math.tau - angle, angle)
  return _arc(tip, math.tau - tip) + [bite + abs(inner) * p for p in back]


def _star(points: int = 5, waist: float = 0.42) -> Points:
  return [
    (waist if i % 2 else 1.0) * -1j * cmath.exp(1j * math.pi * i / points)
    for i in range(2 * points)
  ]


def _cross(arm: float = 0.34) -> Points:
  quarter = [complex(arm, -1), complex(arm, -arm), complex(1, -arm)]
  return [p * 1j**i for i in range(4) for p in quarter]


def _fit(points: Points) -> Points:
  """Centres the bounding box at 0 and makes its area 1."""
  x1, y1, x2, y2 = _bounds(points)
  centre, scale = complex(x1 + x2, y1 + y2) / 2, (x2 - x1) * (y2 - y1)
  return [(p - centre) / math.sqrt(scale) for p in points]


def _bounds(points: Points) -> Box:
  xs, ys = [p.real for p in points], [p.imag for p in points]
  return min(xs), min(ys), max(xs), max(ys)


# Long shapes lie diagonally: the crop of an upright bar, resized to the square
# that the image tower sees, would be a square.
DIAGONAL = cmath.exp(0.25j * math.pi)
OUTLINES = {
  name: _fit(points)
  for name, points in {
    "circle": _arc(0.0, math.tau),
    "ring": _arc(0.0, math.tau),
    "oval": [DIAGONAL * (p + 0.4 * p.conjugate()) for p in _arc(0.0, math.tau)],
    "moon": _moon(),
    "square": _rectangle(1.0, 1.0),
    "frame": _rectangle(1.0, 1.0),
    "bar": [DIAGONAL * p for p in _rectangle(2.6, 1.0)],
    "cross": _cross(),
    "triangle": [-1j * cmath.exp(1j * math.tau * i / 3) for i in range(3)],
    "star": _star(),
    "diamond": [-1j, 0.62 + 0j, 1j, -0.62 + 0j],
    "arrow": [1 + 0j, -0.85j, -0.38j, -1 - 0.38j, -1 + 0.38j, 0.38j, 0.85j],
  }.items()
}
HOLES = {"ring": 0.5, "frame": 0.5}  # scale of the outline for the hole
STRIPES = [[p + 0.28j * i for p in _rectangle(2.0, 0.12)] for i in range(-2, 3)]
DOTS = [0.25 * complex(i, j) for i in range(-2, 3) for j in range(-2, 3)]
BETWEEN = 0.125 + 0.125j  # moves the dots into the band around a hole
DOT_RADIUS = 0.085
RIM = 0.05  # width of plain colour around a texture, for the silhouette
WHITE = (250, 250, 250)


class Thing(NamedTuple):
  """One object of a scene.

  Attributes:
    colour: key of `COLOURS`.
    shape: key of `OUTLINES`.
    size: "small" or "large".
    texture: key of `TEXTURES`.
    turn: complex factor that scales and rotates the outline.
    centre: position in the unit square.
    box: tight bounding box, x1, y1, x2, y2 in the unit square.
  """

  colour: str
  shape: str
  size: str
  texture: str
  turn: complex
  centre: complex
  box: Box

  def place(self, points: Points) -> Points:
    """Maps points from the frame of the outline to the unit square."""
    return [self.centre + self.turn * p for p in points]


def _toss(rng: random.Random, leaf: str, count: int) -> Thing:
  """Draws the attributes of one of `count` objects, centred at the origin."""
  colour, shape = leaf.split()
  size = "large" if rng.random() < 1 / (1 + count) else "small"
  scale = rng.uniform(*(ALONE if count == 1 else SIZES)[size])
  turn = cmath.rect(scale, rng.uniform(-TURN, TURN))
  box = _bounds([turn * p for p in OUTLINES[shape]])
  texture = rng.choices(list(TEXTURES), list(TEXTURES.values()))[0]
  return Thing(colour, shape, size, texture, turn, 0j, box)


def _drop(
  rng: random.Random, thing: Thing, others: list[Thing]
) -> Thing | None:
  """Moves the object to a random free spot; None if there is none."""
  x1, y1, x2, y2 = thing.box
  for _ in range(20):
    x = rng.uniform(MARGIN - x1, 1 - MARGIN - x2)
    y = rng.uniform(MARGIN - y1, 1 - MARGIN - y2)
    box = (x1 + x, y1 + y, x2 + x, y2 + y)
    if all(_apart(box, other.box) for other in others):
      return thing._replace(centre=complex(x, y), box=box)
  return None


def _apart(a: Box, b: Box) -> bool:
  return (
    a[0] - b[2] > MARGIN
    or b[0] - a[2] > MARGIN
    or a[1] - b[3] > MARGIN
    or b[1] - a[3] > MARGIN
  )


def arrange(rng: random.Random, leaves: list[str]) -> list[Thing]:
  """Lays out one object for each leaf class, without overlaps.

  Args:
    rng: random numbers of the scene.
    leaves: up to three leaf classes, such as "red circle".

  Returns:
    Objects in the order of `leaves`.
  """
  while True:  # when stuck, start over: same leaves, new attributes
    things: list[Thing] = []
    for leaf in leaves:
      thing = _drop(rng, _toss(rng, leaf, len(leaves)), things)
      if thing is None:
        break
      things.append(thing)
    else:
      return things


def render(
  rng: random.Random, things: list[Thing], image_size: int
) -> Image.Image:
  """Draws objects on a pale background.

  Args:
    rng: random numbers of the scene.
    things: objects that `arrange` made.
    image_size: side of the image in pixels.

  Returns:
    RGB image.
  """
  grey = rng.randint(176, 236)
  tint = [grey + rng.randint(-14, 14) for _ in range(3)]
  image = Image.new("RGB", (image_size, image_size), tuple(tint))
  for thing in things:
    _paint(rng, image, thing)
  return image


def _paint(rng: random.Random, image: Image.Image, thing: Thing) -> None:
  """Pastes one object through a supersampled mask of its box."""
  x1, y1, x2, y2 = (side * image.width for side in thing.box)
  left, top = math.floor(x1), math.floor(y1)
  zoom = SUPERSAMPLE * image.width
  corner = SUPERSAMPLE * complex(left, top)
  mask = Image.new(
    "L",
    (
      (math.ceil(x2) - left) * SUPERSAMPLE,
      (math.ceil(y2) - top) * SUPERSAMPLE,
    ),
  )
  local = thing._replace(  # the same object, in pixels of the mask
    turn=thing.turn * zoom, centre=thing.centre * zoom - corner
  )
  draw = ImageDraw.Draw(mask)
  edges = [OUTLINES[thing.shape]]
  draw.polygon(_pixels(local, edges[0]), fill=255)
  if thing.shape in HOLES:
    edges.append([HOLES[thing.shape] * p for p in edges[0]])
    draw.polygon(_pixels(local, edges[1]), fill=0)
  colour = tuple(c + rng.randint(-10, 10) for c in COLOURS[thing.colour])
  image.paste(colour, (left, top), mask.reduce(SUPERSAMPLE))
  if thing.texture != "plain":
    pattern = ImageChops.multiply(mask, _pattern(local, edges, mask.size))
    image.paste(WHITE, (left, top), pattern.reduce(SUPERSAMPLE))


def _pattern(
  local: Thing, edges: list[Points], size: tuple[int, int]
) -> Image.Image:
  """Draws the mask of the stripes or dots, with a margin at the edges."""
  pattern, scale = Image.new("L", size), abs(local.turn)
  draw = ImageDraw.Draw(pattern)
  if local.texture == "striped":
    for stripe in STRIPES:
      draw.polygon(_pixels(local, stripe), fill=255)
  else:
    shift = BETWEEN if local.shape in HOLES else 0
    radius = DOT_RADIUS * scale
    for x, y in _pixels(local, [dot + shift for dot in DOTS]):
      draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
  for edge in edges:
    line = _pixels(local, [*edge, edge[0]])
    draw.line(line, fill=0, width=round(2 * RIM * scale))
  return pattern


def _pixels(local: Thing, points: Points) -> list[tuple[float, float]]:
  return [(p.real, p.imag) for p in local.place(points)]
