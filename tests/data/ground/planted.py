"""A detector that knows the boxes of raw shards, and a parser of their rows."""

import functools
import hashlib
import random
from collections import Counter

import numpy as np

from hyperclip_jax.data.ground.options import Options
from hyperclip_jax.data.ground.select import Found
from hyperclip_jax.data.ground.shard import Tools
from hyperclip_jax.data.ground.text import Parsed, Phrase
from hyperclip_jax.data.records import grit, images, shards

OPTIONS = Options("planted", threshold=0.3, min_side=4)


def _key(pixels):
  return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).digest()


def records(pattern):
  source = shards.TarSource(shards.expand(pattern), 1)
  return [source[i] for i in range(len(source))]


@functools.cache
def boxes(pattern):
  """Pixels of each image -> its phrases and their boxes."""
  return {
    _key(images.decode(record.image)): {
      part.text: part.box
      for part in grit.parts(record.meta, record.caption, Counter(), "")
    }
    for record in records(pattern)
  }


@functools.cache
def rows(pattern):
  """Caption -> its phrases, by its own rows."""
  found = {}
  for record in records(pattern):
    ends = {int(row[0]): int(row[1]) for row in record.meta["ref_exps"]}
    found[record.caption] = Parsed(
      tuple(
        Phrase((start, end), (start, max(end, ends.get(start, end))))
        for start, end in (map(int, r[:2]) for r in record.meta["noun_chunks"])
      )
    )
  return found


def detect(pattern, noise=0.0, misses=0.0, false=0.0):
  """A detector that errs at random, with low scores where it does.

  Args:
    pattern: raw shards with true boxes.
    noise: standard deviation of a box's corners, in sides of the image.
    misses: share of the phrases that are not found.
    false: share of images with a box that holds nothing.
  """

  def one(pixels, phrases):
    key = _key(pixels)
    rng = random.Random(key)
    known, found = boxes(pattern)[key], []
    for number, phrase in enumerate(phrases):
      if phrase in known and rng.random() >= misses:
        box = [side + noise * rng.gauss(0, 1) for side in known[phrase]]
        found.append((box, number, 1.0 if not noise else rng.uniform(0.5, 1)))
    if phrases and rng.random() < false:
      x, y = rng.uniform(0, 0.5), rng.uniform(0, 0.5)
      number = rng.randrange(len(phrases))
      found.append(([x, y, x + 0.4, y + 0.4], number, rng.uniform(0.3, 0.6)))
    scores = np.zeros((len(found), len(phrases)))
    for i, (_, number, score) in enumerate(found):
      scores[i, number] = score
    return Found(np.array([b for b, _, _ in found]).reshape(-1, 4), scores)

  return lambda pictures, phrases: [
    one(*pair) for pair in zip(pictures, phrases, strict=True)
  ]


def parse(pattern):
  """A parser that knows the captions; others have no phrase."""
  known, none = rows(pattern), Parsed((), "no phrase in the caption")
  return lambda chunks: (
    [known.get(c, none) for c in chunk] for chunk in chunks
  )


def tools(pattern):
  return Tools(parse(pattern), detect(pattern))
