"""Scenes of one to four emoji, with captions that name them."""

import io
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image, ImageDraw

from hyperclip_jax.data.emoji.concepts import ROOT, Concept
from hyperclip_jax.data.records.boxes import Box

SIDES = {1: (0.62, 0.94), 2: (0.40, 0.50), 3: (0.36, 0.48), 4: (0.36, 0.48)}
COUNTS = {1: 50, 2: 28, 3: 14, 4: 8}  # relative frequencies
TURN = 12  # degrees, either way
MARGIN = 0.02  # to the border of a cell
LEAST = 16  # pixels of an emoji's side that are kept after decoding, times 8
# How a phrase names an emoji; WordNet's noun only where there is one.
LEVELS = {"name": 72, "above": 16, "wordnet": 12}
OPENINGS = (
  *("", "", ""),
  *("an emoji of ", "a picture of ", "emoji: ", "an image with "),
)
JOINS = (" and ", " and ", " next to ", " with ", ", ")

Pictures = Mapping[str, Image.Image]


class Placed(NamedTuple):
  """An emoji of a scene.

  Attributes:
    concept: what it shows.
    box: tight box as a fraction of the image.
  """

  concept: Concept
  box: Box


def picture(data: bytes) -> Image.Image:
  """Decodes an emoji and crops it to what is not transparent."""
  image = Image.open(io.BytesIO(data)).convert("RGBA")
  image = image.crop(image.getchannel("A").getbbox())
  image.thumbnail((8 * LEAST, 8 * LEAST), Image.Resampling.LANCZOS)
  return image


def on_white(image: Image.Image, margin: float = 0.0) -> Image.Image:
  """Puts an emoji on a white square.

  Args:
    image: RGBA.
    margin: on each side, as a fraction of the longer side of the emoji.

  Returns:
    RGB.
  """
  side = round((1 + 2 * margin) * max(image.size))
  ground = Image.new("RGBA", (side, side), "white")
  left, top = ((side - length) // 2 for length in image.size)
  ground.alpha_composite(image, (left, top))
  return ground.convert("RGB")


def scene(
  rng: random.Random,
  concepts: Sequence[Concept],
  pictures: Pictures,
  size: int,
) -> tuple[bytes, dict[str, Any]]:
  """Draws concepts on a ground, and words a caption.

  Args:
    rng: random numbers of the scene.
    concepts: one to four different concepts.
    pictures: their emoji by code, from `picture`.
    size: side of the image in pixels.

  Returns:
    JPEG, and JSON with the fields of GRIT but the key.
  """
  image = _ground(rng, size)
  placed = []
  for concept, corner in zip(concepts, _cells(rng, len(concepts)), strict=True):
    box = _paste(rng, image, pictures[concept.code], corner, len(concepts))
    placed.append(Placed(concept, box))
  caption, rows = words(rng, placed)
  jpeg = io.BytesIO()
  image.save(jpeg, "jpeg", quality=92, subsampling=0)
  return jpeg.getvalue(), {
    "caption": caption,
    "noun_chunks": rows,
    # One that fills the caption is left out: it cannot entail itself.
    "ref_exps": [row for row in rows if row[1] - row[0] < len(caption)],
    "width": size,
    "height": size,
  }


def words(
  rng: random.Random, placed: Sequence[Placed]
) -> tuple[str, list[list[float]]]:
  """Words a caption.

  Args:
    rng: random numbers of the scene.
    placed: emoji of the scene, each named once.

  Returns:
    Caption, and a row [start, end, x1, y1, x2, y2, score] for each phrase.
  """
  text, rows, named = rng.choice(OPENINGS), [], set()
  for number, (concept, box) in enumerate(placed):
    if number:
      text += rng.choice(JOINS) if number == len(placed) - 1 else ", "
    level = rng.choices(list(LEVELS), list(LEVELS.values()))[0]
    phrase = _phrase(rng, concept, level)
    if phrase in named:
      phrase = _article(rng, concept.name)
    named.add(phrase)
    start = len(text)
    text += phrase
    rows.append([float(start), float(len(text)), *box, 1.0])
  if len(placed) == 1 and placed[0].concept.keywords and rng.random() < 0.2:
    keywords = placed[0].concept.keywords
    text += ": " + ", ".join(rng.sample(keywords, min(2, len(keywords))))
  return text, rows


def _phrase(rng: random.Random, concept: Concept, level: str) -> str:
  if level == "wordnet" and concept.wordnet:
    return _article(rng, rng.choice(concept.wordnet[:4]))
  if level == "above":
    near = (*concept.above, ROOT)
    weights = [2.0 ** (len(near) - i) for i in range(len(near))]
    return _article(rng, rng.choices(near, weights)[0])
  return _article(rng, concept.name)


def _article(rng: random.Random, noun: str) -> str:
  """Puts an article before a noun more often than not."""
  kind = rng.choices(("a", "the", ""), (5, 2, 4))[0]
  if kind == "a":
    if noun.endswith("s") and not noun.endswith(("ss", "us", "is")):
      return noun  # several, such as glasses
    kind = "an" if noun[0].lower() in "aeiou" else "a"
  return f"{kind} {noun}".lstrip()


def _cells(rng: random.Random, count: int) -> list[tuple[float, float]]:
  """Chooses the centres of emoji, far enough apart."""
  if count == 1:
    return [(0.5, 0.5)]
  if count == 2 and rng.random() < 0.5:
    pair = [(0.26, 0.5), (0.74, 0.5)]
    if rng.random() < 0.3:
      pair = [(y, x) for x, y in pair]
    rng.shuffle(pair)
    return pair
  return rng.sample([(x, y) for x in (0.26, 0.74) for y in (0.26, 0.74)], count)


def _paste(
  rng: random.Random,
  image: Image.Image,
  emoji: Image.Image,
  centre: tuple[float, float],
  count: int,
) -> Box:
  """Pastes an emoji near a centre and returns its box."""
  size, side = image.width, rng.uniform(*SIDES[count])
  drawn = emoji.rotate(
    rng.uniform(-TURN, TURN), Image.Resampling.BICUBIC, expand=True
  )
  drawn = drawn.crop(drawn.getchannel("A").getbbox())
  scale = side * size / max(drawn.size)
  width, height = (max(1, round(length * scale)) for length in drawn.size)
  drawn = drawn.resize((width, height), Image.Resampling.LANCZOS)
  half = 0.5 if count == 1 else 0.25
  corner = []
  for at, length in zip(centre, (width, height), strict=True):
    low = (at - half + MARGIN) * size
    high = max(low, (at + half - MARGIN) * size - length)
    corner.append(min(max(0, round(rng.uniform(low, high))), size - length))
  x, y = corner
  image.paste(drawn, (x, y), drawn)
  return x / size, y / size, (x + width) / size, (y + height) / size


def _ground(rng: random.Random, size: int) -> Image.Image:
  """Draws a plain, graded or textured ground."""
  first, second = _colour(rng), _colour(rng)
  image = Image.new("RGB", (size, size), first)
  kind = rng.choice(("plain", "graded", "striped", "dotted", "noise"))
  draw = ImageDraw.Draw(image)
  if kind == "graded":
    mask = Image.linear_gradient("L").resize((size, size))
    mask = mask.rotate(rng.choice((0, 90, 180, 270)))
    image.paste(second, (0, 0), mask)
  elif kind == "striped":
    gap = rng.randrange(6, 16)
    for x in range(-size, size, gap):
      line = [(x, 0), (x + size * rng.choice((0, 1)), size)]
      draw.line(line, second, max(1, gap // 3))
  elif kind == "dotted":
    gap = rng.randrange(6, 14)
    for x in range(0, size, gap):
      for y in range(0, size, gap):
        draw.ellipse((x, y, x + gap // 3, y + gap // 3), second)
  elif kind == "noise":
    grid = rng.randrange(4, 24)
    mask = Image.frombytes("L", (grid, grid), rng.randbytes(grid * grid))
    mask = mask.resize((size, size), Image.Resampling.BICUBIC)
    image.paste(second, (0, 0), mask)
  return image


def _colour(rng: random.Random) -> tuple[int, int, int]:
  """Chooses a colour; half of them are light, as pages and walls are."""
  least = 170 if rng.random() < 0.5 else 0
  red, green, blue = (rng.randrange(least, 256) for _ in range(3))
  return red, green, blue
