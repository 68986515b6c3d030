"""Batches of a seed are those of the first loader, byte for byte."""

import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.records.shards import TarSource
from tests.data import tars
from tests.data.loading import distinct, rows, take, with_parts

LAYOUTS = ("raw", "processed", "prepared")
BATCHES = 5  # of four examples: two epochs of ten records
LENGTHS = (8, 16, 24, 77)
# Of the loader that knew HyCoCLIP's boxes by name: (layout, parts) -> its
# leaves, `distinct` among them, and bad records met.
WANTED = {
  ("raw", 0): ("0a0b91ee09454704", 4),
  ("raw", 1): ("5c63ff9d99321456", 4),
  ("raw", 2): ("4738c6681bfcd27e", 4),
  ("raw", 5): ("8701dde54f853ba4", 4),
  ("processed", 0): ("9c2ff0cbb5216cef", 4),
  ("processed", 1): ("9518679119ca232d", 5),
  ("processed", 2): ("1ac02ad0d712cdb2", 6),
  ("processed", 5): ("7f2ac88614dab8a0", 6),
  ("prepared", 0): ("0a0b91ee09454704", 4),
  ("prepared", 1): ("c71fb064706982e5", 4),
  ("prepared", 2): ("ac154a026dcfc970", 4),
  ("prepared", 5): ("413a402689553e98", 4),
}


def png(seed):
  """Noise, which decodes alike everywhere; the third size is shrunk."""
  height, width = ((40, 56), (48, 30), (120, 200))[seed % 3]
  rng = np.random.default_rng(seed)
  out = io.BytesIO()
  pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
  Image.fromarray(pixels).save(out, "PNG")
  return out.getvalue()


def write(folder, layout):
  """Ten records of 0 to 4 parts, two of them bad; the shard's source."""
  members = []
  words = ["red", "green", "blue", "small"]
  boxes = [(0, 0, 0.5, 1), (0.25, 0.3, 1, 0.9), (0, 0, 1, 1), (0.6, 0, 1, 0.5)]
  for i in range(10):
    key, count = f"{i:05d}", i % 5
    image = b"\x89PNG no image" if i == 6 else png(i)
    phrases = [f"{word} ball {i}" for word in words[:count]]
    caption = " and ".join(phrases) or f"nothing {i}"
    if layout == "raw":
      chunks, start = [], 0
      for phrase, box in zip(phrases, boxes, strict=False):
        chunks.append([start, start + len(phrase), *box, 0.9])
        start += len(phrase + " and ")
      meta = {"caption": caption, "noun_chunks": chunks, "ref_exps": []}
      text = json.dumps(meta | {"width": 56, "height": 40}).encode()
      members += [(f"{key}.png", image)]
      members += [(f"{key}.json", b"{" if i == 3 else text)]
    elif layout == "processed":
      members += [(f"{key}.child.jpg", image)]
      members += [(f"{key}.child.txt", caption.encode())]
      number = b"9" if i == 3 else str(count).encode()
      members += [(f"{key}.numparents.txt", number)]
      for j, phrase in enumerate(phrases):
        bad = (i, j) == (8, 1)
        members += [(f"{key}.parent{j:03d}.jpg", b"" if bad else png(i + j))]
        members += [(f"{key}.parent{j:03d}.txt", phrase.encode())]
    else:
      rows = [
        {"text": phrase, "box": box}
        for phrase, box in zip(phrases, boxes, strict=False)
      ]
      meta = {"key": key, "caption": caption, "parts": rows, "meta": {}}
      text = json.dumps(meta | {"width": 56, "height": 40}).encode()
      members += [(f"{key}.jpg", image)]
      members += [(f"{key}.parts.json", b"[]" if i == 3 else text)]
      if i % 2:
        members += [(f"{key}.part{j:03d}.jpg", png(j)) for j in range(count)]
  path = tars.write_tar(folder / f"{layout}.tar", members)
  return TarSource([path], min_side=4)


def digest(leaves):
  """Of arrays in order, with their types and shapes."""
  found = hashlib.sha256()
  for leaf in leaves:
    found.update(f"{leaf.dtype} {leaf.shape}".encode())
    found.update(np.ascontiguousarray(leaf).tobytes())
  return found.hexdigest()[:16]


def leaves(batch):
  """Of a batch, in the first loader's order."""
  for view in batch.values():
    yield from (view[name] for name in ("image", "crop", "seed", "text"))
  if "part" in batch:
    if "valid" in batch["part"]:
      yield batch["part"]["valid"]
    yield distinct(batch)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shards")
  return {layout: write(folder, layout) for layout in LAYOUTS}


@pytest.mark.parametrize(("layout", "parts"), WANTED)
def test_batches_are_as_ever_and_go_on_from_anywhere(sources, layout, parts):
  source, faults = sources[layout], Faults(1.0)
  reading = {
    "display": with_parts(parts, LENGTHS),
    "form": Form(64, white_border=layout == "processed"),
    "seed": 3,
  }
  batches = take(source, count=BATCHES, faults=faults, **reading)
  found = digest(leaf for batch in batches for leaf in leaves(batch))
  assert (found, faults.until(20)) == WANTED[layout, parts]
  names = pipeline.names([source], (1.0,), 3, range(20), reading["display"])
  assert sum(name.count("in place of") for name in names) == faults.until(20)

  alike = {**reading, "display": with_parts(parts, (77,)), "faults": faults}
  whole = rows(take(source, count=BATCHES, **alike))
  for start in (1, 6, 14):
    later = take(source, count=1, examples_seen=start, **alike)
    assert rows(later) == whole[start : start + 4]
