"""Raw shards and what `prepare` makes of them hold the same records."""

import contextlib
import io
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.prepare.inputs import Tar
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.prepare.shard import Job, prepare_shard
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.shards import TarSource
from tests.data import tars

CAPTION = "a red ball &amp; a <b>café</b> on a wooden  table"
SIZE = (64, 48)
MIN_SIDE = 8
WHOLE = [0.0, 0.0, 1.0, 1.0, 0.9]


def row(text, *box, caption=CAPTION):
  start = caption.index(text)
  return [start, start + len(text), *(box or WHOLE[:4]), 0.9]


def as_png(jpeg):
  out = io.BytesIO()
  Image.open(io.BytesIO(jpeg)).save(out, "png")
  return out.getvalue()


def read(path, upright=False):
  """The records of a tar whose image decodes, and what was left out."""
  source = TarSource([str(path)], MIN_SIDE, upright=upright)
  found, left_out = {}, Counter()
  for i in range(len(source)):
    with contextlib.suppress(RecordError, images.ImageError):
      record = source[i]
      whole = images.decode(record.image, upright=upright)
      parts = [part for part in record.parts if shows(part, whole)]
      left_out["bad crop"] += len(record.parts) - len(parts)
      left_out.update(record.left_out)
      found[record.key] = (record, whole, parts)
  return found, +left_out


def shows(part, whole):
  with contextlib.suppress(images.ImageError):
    return part.pixels(whole).size > 0
  return False


def prepared(folder, members, **options):
  """Prepares a tar; returns its path, that of the shard, and the result."""
  path = tars.write_tar(folder / "in.tar", members)
  options = Options(**{"min_side": MIN_SIDE, "quality": 100} | options)
  result = prepare_shard(Job(0, Tar(path), str(folder), options, False))
  return path, folder / "00000.tar", result


def assert_same(folder, members, exact=True, **options):
  """Reads a tar raw and prepared and compares record by record."""
  path, shard, result = prepared(folder, members, **options)
  upright = options.get("upright", False)
  raw, left_out = read(path, upright)
  after, _ = read(shard, upright)
  assert list(raw) == list(after)
  tokenize = Tokenizer()
  for key, (record, whole, parts) in raw.items():
    other, whole_after, parts_after = after[key]
    texts = [record.caption, *(part.text for part in parts)]
    assert [other.caption, *(part.text for part in parts_after)] == texts
    np.testing.assert_array_equal(
      tokenize(texts, 77),
      tokenize([other.caption, *(part.text for part in parts_after)], 77),
    )
    assert [p.box for p in parts_after] == [p.box for p in parts]
    seen = [whole, *(part.pixels(whole) for part in parts)]
    seen_after = [whole_after, *(p.pixels(whole_after) for p in parts_after)]
    for a, b in zip(seen, seen_after, strict=True):
      assert a.shape == b.shape
      assert np.abs(a.astype(int) - b).mean() <= (0 if exact else 4)
  assert left_out == result.rejected_boxes
  return raw, result


BAD = {
  "bad rows": {
    "noun_chunks": [
      [0, 10, 0, 0, 1, 1],
      None,
      "row",
      ["0", 10, 0, 0, 1, 1, 1],
      [0, 999, 0, 0, 1, 1, 1],
      row("red", 0.5, 0.5, 0.1, 0.9),
      row("red", 1.5, 0.0, 2.0, 1.0),
      row("red", 0.0, 0.0, 0.05, 0.05),
      row("red", 0.0, 0.0, float("nan"), 1.0),
      row("red", -0.5, 0.2, 0.9, 7.0),
      row("red"),
      row("  "),
      row("café"),
    ],
    "ref_exps": [row(CAPTION), row("red")],
  },
  "lists as texts": {
    "noun_chunks": json.dumps([row("red"), [0]]),
    "ref_exps": "",
  },
  "no lists": {"noun_chunks": None, "ref_exps": None},
  "list is none": {"noun_chunks": {"a": 1}},
  "caption is none": {"caption": None},
  "caption is a number": {"caption": 3},
  "caption is blank": {"caption": " \n", "noun_chunks": [], "ref_exps": []},
  "odd caption": {
    "caption": "  a\u0301  red\tball\ud83d &lt;i&gt;",
    "noun_chunks": [[2, 8, *WHOLE]],
    "ref_exps": [],
  },
  "no size": {"width": None, "height": "x", "noun_chunks": [row("red")]},
  "size of another image": {
    "width": 9,
    "height": 9,
    "noun_chunks": [row("red", 0.1, 0.1, 0.5, 0.5)],
  },
  "numbers that JSON lacks": {"score": float("nan"), "deep": [float("inf")]},
}


def raw_record(key, seed=0, **fields):
  meta = {"caption": CAPTION, "noun_chunks": [row("red")], "ref_exps": []}
  return tars.raw_members(key, seed, **meta | fields)


def test_bad_rows_cost_the_same_raw_and_prepared(tmp_path):
  members = [m for key, bad in BAD.items() for m in raw_record(key, **bad)]
  image, meta, text = raw_record("x", 3)
  members += [
    *raw_record("no_image")[1:],
    *raw_record("no_json")[:1],
    *raw_record("twice", 1),
    *raw_record("twice", 2),
    *raw_record("incomplete_first")[1:2],
    *raw_record("between"),
    *[("bad_json.jpg", image[1]), ("bad_json.json", b"{")],
    *[("bad_image.jpg", b"no image"), ("bad_image.json", meta[1])],
    *[("jpeg.jpeg", image[1]), ("jpeg.json", meta[1])],
    *[("both.jpg", image[1]), ("both.jpeg", b"no"), ("both.json", meta[1])],
    text,
  ]
  raw, result = assert_same(tmp_path, members)
  assert list(raw) == [
    "bad rows", "lists as texts", "no lists", "odd caption", "no size",
    "size of another image", "numbers that JSON lacks", "twice", "between",
    "jpeg", "both",
  ]  # fmt: skip
  record = raw["bad rows"][0]
  assert [(part.text, part.box) for part in record.parts] == [
    ("red", (0.0, 0.2, 0.9, 1.0)),
    ("café", (0.0, 0.0, 1.0, 1.0)),
    (" ".join(CAPTION.split()), (0.0, 0.0, 1.0, 1.0)),
  ]
  assert record.left_out == {
    "bad row": 4,
    "bad offsets": 1,
    "box inverted": 1,
    "box outside": 1,
    "box too small": 1,
    "box not finite": 1,
    "phrase empty": 1,
    "phrase repeated": 2,
  }
  assert result.rejected_records["missing member"] == 4
  assert result.rejected_records["duplicate key"] == 1


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("crops", [False, True])
def test_pictures_of_any_kind_are_the_same(tmp_path, upright, crops):
  turned = tars.turned(tars.jpeg(1))
  rows = [row("red", 0.0, 0.0, 0.15, 1.0), row("café", 0.0, 0.0, 1.0, 0.15)]
  meta = raw_record("x", noun_chunks=rows)[1][1]
  members = [
    *[("turned.jpg", turned), ("turned.json", meta)],
    *[("png.png", as_png(tars.jpeg(2))), ("png.json", meta)],
    *[("large.jpg", tars.jpeg(3, 480, 640)), ("large.json", meta)],
  ]
  path, shard, result = prepared(
    tmp_path, members, upright=upright, crops=crops, long_side=1000
  )
  raw, left_out = read(path, upright)
  after, _ = read(shard, upright)
  assert list(raw) == list(after) == ["turned", "png", "large"]
  for key, (record, whole, parts) in raw.items():
    _, whole_after, parts_after = after[key]
    assert [p.text for p in parts] == [p.text for p in parts_after]
    for part, other in zip(parts, parts_after, strict=True):
      a, b = part.pixels(whole), other.pixels(whole_after)
      if other.crop is None:
        assert part.box == other.box
      if max(a.shape) <= 256:
        assert a.shape == b.shape
        assert np.abs(a.astype(int) - b).mean() < 4
    assert record.caption == after[key][0].caption
  assert left_out == result.rejected_boxes
  wanted = {False: "red", True: "café"}[upright]
  assert wanted in [part.text for part in raw["turned"][2]]


def test_captioned_and_processed_records_are_the_same(tmp_path):
  members = [
    *[("a.jpg", tars.jpeg(1)), ("a.txt", " a  café\n&amp;".encode())],
    *[("b.jpg", tars.jpeg(1)), ("b.txt", b"\xff")],
    *[("c.jpg", tars.jpeg(1)), ("c.txt", b" \n")],
    *[("d.jpg", tars.jpeg(1))],
  ]
  raw, _ = assert_same(tmp_path, members)
  assert list(raw) == ["a"]
  changes = [
    {},
    {"parent000.txt": None},
    {"parent000.txt": b"\xff"},
    {"parent000.txt": b"red"},
    {"parent000.jpg": b"no image"},
    {"numparents.txt": b"3"},
    {"child.txt": b""},
    {"child.jpg": None},
  ]
  members = []
  for i, change in enumerate(changes):
    found = dict(tars.processed_members(f"{i}"))
    found |= {f"{i}.{name}": data for name, data in change.items()}
    members += [(n, data) for n, data in found.items() if data is not None]
  raw, result = assert_same(tmp_path, members)
  assert list(raw) == ["0", "1", "2", "3", "4"]
  assert [len(parts) for *_, parts in raw.values()] == [2, 1, 1, 1, 1]
  assert result.rejected_boxes == {
    "bad crop": 1, "no phrase": 1, "not utf-8": 1, "phrase repeated": 1
  }  # fmt: skip


@pytest.mark.parametrize("unit", ["pixels", "percent", "thousandths"])
@pytest.mark.parametrize("ends", ["xyxy", "xywh"])
def test_boxes_in_another_form_are_the_same_as_fractions(tmp_path, unit, ends):
  places = [(0.25, 0.25, 0.75, 1.0), (0.0, 0.5, 0.5, 1.0), (0.5, 0.0, 0.6, 0.6)]
  scale = {"percent": (100, 100), "thousandths": (1000, 1000)}.get(unit, SIZE)

  def written(box):
    x1, y1, x2, y2 = box
    if ends == "xywh":
      x2, y2 = x2 - x1, y2 - y1
    return [v * s for v, s in zip((x1, y1, x2, y2), scale * 2, strict=True)]

  def record(i, form):
    rows = [row("red", *form(places[i % 3])), [0], row("café", 9e9, 0, 9e9, 1)]
    return raw_record(f"{i}", width=64, height=48, noun_chunks=rows)

  fractions = [m for i in range(12) for m in record(i, list)]
  _, shard, _ = prepared(
    tmp_path,
    [m for i in range(12) for m in record(i, written)],
    boxes=unit,
    box_format=ends,
  )
  raw, _ = read(tars.write_tar(tmp_path / "fractions.tar", fractions))
  after, _ = read(shard)
  assert list(raw) == list(after)
  for key, (record_, _, parts) in raw.items():
    assert record_.caption == after[key][0].caption
    assert [p.text for p in parts] == [p.text for p in after[key][2]]
    for part, other in zip(parts, after[key][2], strict=True):
      np.testing.assert_allclose(part.box, other.box, atol=1e-12)


NUMBER = st.one_of(
  st.floats(-0.2, 1.2),
  st.integers(-1, 60),
  st.floats(),
  st.none(),
  st.booleans(),
  st.text(max_size=1),
)
TEXTS = st.text(
  st.sampled_from(" \t\n\x00ae\u0301\u00e9\ud83d&amp;<b>"), max_size=12
)
BOX = st.lists(st.floats(-0.2, 1.2), min_size=4, max_size=4)
GOOD = st.builds(
  lambda start, length, box: [start, start + length, *box, 1.0],
  st.integers(0, 8),
  st.integers(1, 6),
  BOX | st.just(WHOLE[:4]),
)
ROWS = st.lists(GOOD | st.lists(NUMBER, max_size=8) | st.none(), max_size=6)
FIELDS = st.fixed_dictionaries(
  {"caption": TEXTS.map(lambda text: f"a {text} ball")},
  optional={
    "noun_chunks": ROWS | ROWS.map(json.dumps) | st.integers(),
    "ref_exps": ROWS,
    "width": NUMBER,
    "height": NUMBER,
    "meta": st.floats() | st.lists(st.floats(), max_size=2),
  },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FIELDS | st.just({"caption": None}), min_size=1, max_size=6))
def test_any_lists_give_the_same_records(tmp_path_factory, records):
  members = [m for i, f in enumerate(records) for m in raw_record(f"{i}", **f)]
  members += raw_record("good")
  assert_same(tmp_path_factory.mktemp("tars"), members)
