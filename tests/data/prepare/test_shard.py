import contextlib
import io
import json
import math
import re
import struct
import tarfile
import zlib
from collections import Counter

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from hyperclip_jax.data.prepare.inputs import Tar
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.prepare.shard import Job, prepare_shard
from hyperclip_jax.data.prepare.tally import BadInputError
from hyperclip_jax.data.records import images, shards
from hyperclip_jax.data.records.record import RecordError
from tests.data.tars import jpeg, processed_members, raw_members, write_tar

CAPTION = "a red ball on a wooden table"


def prepare(tmp_path, members, skip_bad=False, number=3, **options):
  """Makes shard 3 of one raw tar; returns the result and its members."""
  path = tmp_path / "in.tar"
  if members is not None:
    write_tar(path, members)
  job = Job(number, Tar(str(path)), str(tmp_path), Options(**options), skip_bad)
  result = prepare_shard(job)
  if result.skipped:
    return result, {}
  with tarfile.open(tmp_path / f"{number:05d}.tar") as tar:
    found = {}
    for member in tar:
      file = tar.extractfile(member)
      assert file is not None
      assert (member.uid, member.gid, member.mtime) == (0, 0, 0)
      found[member.name] = file.read()
  return result, found


def content(found, record=0):
  return json.loads(found[f"00003{record:05d}.parts.json"])


def row(text, *box, caption=CAPTION):
  start = caption.index(text)
  return [start, start + len(text), *box, 0.9]


def png(pixels):
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, "png")
  return out.getvalue()


def test_a_record_keeps_its_key_texts_boxes_and_meta(tmp_path):
  members = raw_members(
    "d/7", label="ball", score=math.nan, deep=[math.nan], nested={"a": [1]}
  )
  result, found = prepare(tmp_path, members, min_side=8)
  assert list(found) == ["0000300000.jpg", "0000300000.parts.json"]
  record = content(found)
  assert record["meta"].pop("url") == "http://example.com/1.jpg"
  assert record["meta"]["label"] == "ball"
  assert record["meta"]["nested"] == {"a": [1]}
  assert not record["meta"].keys() & {"score", "deep"}
  del record["meta"]
  assert record == {
    "key": "d/7",
    "caption": CAPTION,
    "width": 64,
    "height": 48,
    "parts": [
      {"text": "a red ball", "box": [0.0, 0.0, 0.5, 0.5]},
      {"text": "a wooden table", "box": [0.1, 0.2, 1.0, 1.0]},
      {"text": CAPTION, "box": [0.0, 0.0, 1.0, 1.0], "whole": True},
    ],
  }
  assert (result.number, result.records, result.parts) == (3, 1, 3)
  assert result.bytes == (tmp_path / "00003.tar").stat().st_size
  assert not result.rejected_records
  assert not result.rejected_boxes


def test_the_reader_of_the_trainer_reads_it(tmp_path):
  _, found = prepare(tmp_path, raw_members("a") + raw_members("b", 5))
  assert (tmp_path / "00003.tar.index").exists()
  source = shards.TarSource([str(tmp_path / "00003.tar")])
  assert [source[i].key for i in range(len(source))] == ["a", "b"]
  assert source[1].caption == CAPTION
  assert source[1].image == jpeg(5) == found["0000300001.jpg"]


def test_first_good_box_of_a_phrase_wins_and_the_others_are_counted(tmp_path):
  good, other = (0.2, 0.2, 0.9, 0.9), (0.0, 0.0, 1.0, 1.0)
  rows = [
    row("a red ball", math.nan, 0, 1, 1),
    row("a red ball", 0.9, 0.9, 0.1, 0.1),
    row("a red ball", 1.5, 0, 2, 1),
    row("a red ball", 0, 0, 1, 0.1),
    row("a red ball", *good),
    row("a red ball", *other),
    row(" on", -0.5, 0, 2, 1),
    row(" ", *other),
  ]
  members = raw_members("a", noun_chunks=rows, ref_exps=[])
  result, found = prepare(tmp_path, members)
  assert content(found)["parts"] == [
    {"text": "a red ball", "box": list(good)},
    {"text": "on", "box": list(other)},
  ]
  assert result.rejected_boxes == {
    "box inverted": 1,
    "box not finite": 1,
    "box outside": 1,
    "box too small": 1,
    "phrase empty": 1,
    "phrase repeated": 1,
  }


SIZE = (64, 48)
PLACES = [
  (x / 10, y / 10, x / 10 + 0.3, y / 10 + 0.4)
  for x, y in ((0, 1), (2, 5), (6, 2), (4, 3), (6, 5))
]


def in_form(box, unit, ends):
  """A box in fractions of 64 x 48 pixels, in another form."""
  scale = {"percent": (100, 100), "thousandths": (1000, 1000), "pixels": SIZE}
  x1, y1, x2, y2 = box
  if ends == "xywh":
    x2, y2 = x2 - x1, y2 - y1
  width, height = scale.get(unit, (1, 1))
  return (x1 * width, y1 * height, x2 * width, y2 * height)


def of_form(unit, ends):
  """Twenty raw records of one box each."""
  return [
    member
    for i in range(20)
    for member in raw_members(
      f"{i:02d}",
      noun_chunks=[row("a red ball", *in_form(PLACES[i % 5], unit, ends))],
      ref_exps=[],
      width=SIZE[0],
      height=SIZE[1],
    )
  ]


FORMS = [
  (unit, ends)
  for unit in ("fractions", "percent", "thousandths", "pixels")
  for ends in ("xyxy", "xywh")
]


@pytest.mark.parametrize(("unit", "ends"), FORMS)
def test_boxes_of_any_form_become_fractions(tmp_path, unit, ends):
  members = of_form(unit, ends)
  result, found = prepare(
    tmp_path, members, min_side=8, boxes=unit, box_format=ends
  )
  assert result.parts == 20
  for i in range(20):
    (part,) = content(found, i)["parts"]
    np.testing.assert_allclose(part["box"], PLACES[i % 5], atol=1e-9)


@pytest.mark.parametrize(("unit", "ends"), FORMS[1:])
def test_boxes_of_another_form_are_refused_with_what_to_set(
  tmp_path, unit, ends
):
  members = of_form(unit, ends)
  flags = f"Give --boxes={unit} --box_format={ends}, or to keep the form"
  for skip_bad in (False, True):
    with pytest.raises(ValueError, match=re.escape(flags)):
      prepare(tmp_path, members, skip_bad)
  assert [path.name for path in tmp_path.iterdir()] == ["in.tar"]
  result, _ = prepare(tmp_path, members, boxes="fractions", box_format="xyxy")
  assert result.records == 20


def test_boxes_in_pixels_of_an_image_of_another_shape_are_left_out(tmp_path):
  members = raw_members("a", width=48, height=64)
  result, _ = prepare(tmp_path, members, boxes="pixels", box_format="xyxy")
  assert result.rejected_records == {"image of another shape": 1}


def turned_jpeg():
  """A JPEG that is to be shown turned by 90 degrees: 48 wide, 64 high."""
  x, y = np.meshgrid(np.arange(64), np.arange(48))
  pixels = np.stack([x * 4, y * 5, 255 - x * 4], -1).astype(np.uint8)
  image = Image.fromarray(pixels)
  exif = Image.Exif()
  exif[0x112] = 6
  out = io.BytesIO()
  image.save(out, "JPEG", exif=exif, quality=95)
  return out.getvalue()


@pytest.mark.parametrize("long_side", [512, 40])
@pytest.mark.parametrize("upright", [False, True])
def test_what_is_stored_says_nothing_of_turning(tmp_path, upright, long_side):
  data = turned_jpeg()
  rows = [row("a red ball", 0, 0, 1, 0.25)]
  meta = raw_members("a", noun_chunks=rows, ref_exps=[])[1]
  _, found = prepare(
    tmp_path,
    [("a.jpg", data), meta],
    upright=upright,
    long_side=long_side,
    min_side=8,
    crops=True,
    quality=100,
  )
  stored = found["0000300000.jpg"]
  whole = images.decode(data, upright=upright)
  scale = min(1, long_side / 64)
  shape = [round(side * scale) for side in whole.shape[:2]]
  assert list(images.decode(stored).shape[:2]) == shape
  assert images.orientation(stored) == 1
  record = content(found)
  assert [record["height"], record["width"]] == shape
  crop = images.decode(found["0000300000.part000.jpg"])
  wanted = images.crop(whole, tuple(record["parts"][0]["box"]))
  assert crop.shape == wanted.shape
  assert np.abs(crop.astype(int) - wanted).mean() < 4


def test_an_upright_image_is_kept_byte_for_byte(tmp_path):
  _, found = prepare(tmp_path, raw_members("a", 5), upright=True)
  assert found["0000300000.jpg"] == jpeg(5)


def test_texts_of_absurd_length_are_left_out(tmp_path):
  caption = "x" * 8000
  rows = [[i, 8000, 0, 0, 1, 1, 1] for i in range(900)]
  members = raw_members("a", caption=caption, noun_chunks=rows, ref_exps=[])
  result, _ = prepare(tmp_path, members)
  assert result.rejected_records == {"texts too long": 1}


def test_captioned_images_come_through(tmp_path):
  members = [("a.jpg", jpeg(1)), ("a.txt", b" a  cat\n")]
  result, found = prepare(tmp_path, members)
  assert found["0000300000.jpg"] == jpeg(1)
  assert content(found)["caption"] == "a cat"
  assert (result.records, result.parts) == (1, 0)


def test_raw_and_prepared_records_are_alike(tmp_path):
  rows = [
    row("a red ball", 0, 0, 0.1, 0.1),
    row("a red ball", 0.1, 0.1, 0.9, 0.9),
    [0, 10, 0, 0, 1, 1],
    [0, 99, 0, 0, 1, 1, 1],
    row("table", 0.9, 0.9, 0.1, 0.1),
    row("wooden table", -0.5, 0, 2, 1),
    row("ball", 0, 0, 1, 1),
  ]
  records = [
    {"noun_chunks": rows, "ref_exps": None},
    {"noun_chunks": json.dumps(rows), "ref_exps": "[]"},
    {
      "caption": "  a\u0301  red\tball\ud83d",
      "noun_chunks": [[2, 8, *row("a", 0, 0, 1, 1)[2:]]],
    },
    {"caption": None},
    {"caption": 3},
    {"caption": " \n", "noun_chunks": None, "ref_exps": None},
    {"noun_chunks": {"a": 1}},
    {"noun_chunks": 3},
  ]
  members = [
    member
    for i, fields in enumerate(records)
    for member in raw_members(f"{i}", width=64, height=48, **fields)
  ]
  result, _ = prepare(tmp_path, members, min_side=8)

  def read(path):
    source = shards.TarSource([str(path)], min_side=8)
    found = {}
    for i in range(len(source)):
      with contextlib.suppress(RecordError):
        record = source[i]
        parts = [(part.text, part.box) for part in record.parts]
        found[record.key] = (record.caption, parts, record.left_out)
    return found

  raw, prepared = read(tmp_path / "in.tar"), read(tmp_path / "00003.tar")
  assert list(raw) == list(prepared) == ["0", "1", "2"]
  for key, (caption, parts, _) in raw.items():
    assert prepared[key][:2] == (caption, parts)
  left_out = sum((each for _, _, each in raw.values()), Counter())
  assert left_out == result.rejected_boxes
  assert left_out["bad row"] == 2


def test_min_side_is_of_the_image_as_found(tmp_path):
  image = ("a.jpg", jpeg(0, 480, 640))
  rows = [row("a red ball", 0, 0, 0.05, 1), row("table", 0, 0, 0.06, 1)]
  members = [image, *raw_members("a", noun_chunks=rows, ref_exps=[])[1:]]
  _, found = prepare(tmp_path, members, min_side=32, long_side=64)
  record = content(found)
  assert [part["text"] for part in record["parts"]] == ["a red ball", "table"]
  assert (record["width"], record["height"]) == (64, 48)
  _, found = prepare(tmp_path, members, min_side=33, long_side=64)
  assert [part["text"] for part in content(found)["parts"]] == ["table"]


def test_offsets_are_of_the_caption_as_found(tmp_path):
  caption = "  a\u0301  red\nball "
  rows = [row("red\nball", 0, 0, 1, 1, caption=caption)]
  rows.append([0, len(caption), 0, 0, 1, 1, 1])
  members = raw_members("a", caption=caption, noun_chunks=rows, ref_exps=[])
  _, found = prepare(tmp_path, members)
  record = content(found)
  assert record["caption"] == "\u00e1 red ball"
  assert [(p["text"], p.get("whole")) for p in record["parts"]] == [
    ("red ball", None),
    ("\u00e1 red ball", True),
  ]


@pytest.mark.parametrize("height", [20, 333])
def test_only_a_large_image_or_another_format_is_encoded(tmp_path, height):
  y, x = np.mgrid[:height, :400]
  pixels = np.stack([x * 255 // 400, y * 255 // height, x // 2], -1)
  pixels = pixels.astype(np.uint8)
  large = simplejpeg.encode_jpeg(pixels, 100)
  small = jpeg(2, height, 40)
  members = [
    *raw_members("a"),
    *[("b.png", png(pixels)), ("b.json", raw_members("b")[1][1])],
    *[("c.jpg", large), ("c.json", raw_members("c")[1][1])],
    *[("d.jpg", small), ("d.json", raw_members("d")[1][1])],
  ]
  _, found = prepare(tmp_path, members, long_side=350)
  assert found["0000300000.jpg"] == jpeg()
  assert found["0000300003.jpg"] == small
  for i in (1, 2):
    record = content(found, i)
    stored = images.decode(found[f"000030000{i}.jpg"])
    want = (round(height * 350 / 400), 350)
    assert (record["height"], record["width"]) == stored.shape[:2] == want
    exact = Image.fromarray(pixels).resize(want[::-1], Image.Resampling.BICUBIC)
    difference = np.abs(stored.astype(float) - np.asarray(exact, float)).mean()
    assert difference < 3


def test_quality_changes_the_size(tmp_path):
  pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
  members = [("a.png", png(pixels)), raw_members("a")[1]]
  sizes = [
    len(prepare(tmp_path, members, quality=q)[1]["0000300000.jpg"])
    for q in (30, 92, 100)
  ]
  assert sizes == sorted(set(sizes))


def test_crops_are_cut_from_the_image_as_found(tmp_path):
  checks = np.indices((600, 600)).sum(0) % 2 * 255  # lost at 64 px
  pixels = np.zeros((600, 1200, 3), np.uint8)
  pixels[:, :600] = checks[..., None]
  pixels[:, 600:] = (0, 255, 0)
  rows = [row("a red ball", 0, 0, 0.2, 0.4), row("table", 0.5, 0, 1, 1)]
  meta = raw_members("a", noun_chunks=rows, ref_exps=[])[1]
  members = [("a.png", png(pixels)), meta]
  _, found = prepare(tmp_path, members, long_side=64, quality=100, crops=True)
  first = images.decode(found["0000300000.part000.jpg"])
  second = images.decode(found["0000300000.part001.jpg"])
  assert first.shape == (240, 240, 3)
  assert first[..., 0].std() > 100  # the checks are still there
  assert second.shape == (256, 256, 3)
  assert abs(second.reshape(-1, 3).mean(0) - (0, 255, 0)).max() < 3
  source = shards.TarSource([str(tmp_path / "00003.tar")])
  assert source[0].parts[1].crop == found["0000300000.part001.jpg"]
  assert "0000300000.part002.jpg" not in found


def test_processed_parts_keep_their_crops(tmp_path):
  members = processed_members("k", "a ball", ("a ball", "red", "red", "bad"))
  members[-2] = ("k.parent003.jpg", b"no image")
  result, found = prepare(tmp_path, members, min_side=100)
  assert content(found)["parts"] == [
    {"text": "a ball", "box": [0.0, 0.0, 1.0, 1.0], "whole": True},
    {"text": "red", "box": [0.0, 0.0, 1.0, 1.0]},
  ]
  assert found["0000300000.part000.jpg"] == jpeg(1)
  assert found["0000300000.part001.jpg"] == jpeg(2)
  assert result.rejected_boxes == {"bad crop": 1, "phrase repeated": 1}


def test_rejected_records_are_counted_with_an_example(tmp_path):
  meta = raw_members("x")[1][1]
  # Headers that claim 900 megapixels.
  header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
  bomb = png(np.zeros((1, 1, 3), np.uint8))
  bomb = bomb[:12] + header + struct.pack(">I", zlib.crc32(header)) + bomb[33:]
  large = bytearray(jpeg())
  start = large.index(b"\xff\xc0") + 5
  large[start : start + 4] = struct.pack(">HH", 30_000, 30_000)
  truncated = jpeg(0, 200, 200)[:900]
  members = [
    *[("a.jpg", b"no image"), ("a.json", meta)],
    *[("b.jpg", truncated), ("b.json", meta)],
    *[("c.png", bomb), ("c.json", meta)],
    *[("d.jpg", bytes(large)), ("d.json", meta)],
    *raw_members("e", caption=" \n\x00", noun_chunks=[], ref_exps=[]),
    *[("f.jpg", jpeg()), ("f.json", b"[1]")],
    *raw_members("g"),
  ]
  result, found = prepare(tmp_path, members)
  assert content(found)["key"] == "g"
  assert result.records == 1
  assert result.rejected_records == {
    "bad image": 2,
    "bad json": 1,
    "image too large": 2,
    "no caption": 1,
  }
  assert result.examples == {
    "bad image": "a",
    "bad json": "f",
    "image too large": "c",
    "no caption": "e",
  }


def test_records_without_a_good_box_are_kept_unless_boxes_are_asked_for(
  tmp_path,
):
  members = raw_members("a", noun_chunks=[], ref_exps=[]) + raw_members("b")
  result, found = prepare(tmp_path, members)
  assert result.records == 2
  assert content(found)["parts"] == []
  result, found = prepare(tmp_path, members, require_boxes=True)
  assert content(found)["key"] == "b"
  assert result.rejected_records == {"no good box": 1}


def test_a_record_has_at_most_a_thousand_parts(tmp_path):
  caption = " ".join(map(str, range(1100)))
  rows = [row(str(i), 0, 0, 1, 1, caption=caption) for i in range(100, 1100)]
  rows += [row(f"{i} ", 0, 0, 1, 1, caption=caption) for i in range(3)]
  members = raw_members("a", caption=caption, noun_chunks=rows, ref_exps=[])
  result, _ = prepare(tmp_path, members)
  assert result.parts == 1000
  assert result.rejected_boxes == {"too many parts": 3}


def test_the_same_input_gives_the_same_bytes(tmp_path):
  members = [m for i in range(4) for m in raw_members(f"{i}", i)]
  first, _ = prepare(tmp_path, members, crops=True, long_side=40)
  data = (tmp_path / "00003.tar").read_bytes()
  again, _ = prepare(tmp_path, None, crops=True, long_side=40)
  assert (tmp_path / "00003.tar").read_bytes() == data
  assert again == first


def test_a_damaged_input_leaves_nothing_behind(tmp_path):
  write_tar(tmp_path / "in.tar", raw_members("a") + raw_members("b"))
  data = (tmp_path / "in.tar").read_bytes()
  (tmp_path / "in.tar").write_bytes(data[:6000])
  with pytest.raises(BadInputError, match=r"in\.tar: damaged or truncated"):
    prepare(tmp_path, None)
  result, _ = prepare(tmp_path, None, skip_bad=True)
  assert "damaged or truncated" in result.skipped
  assert result.records == 0
  assert [path.name for path in tmp_path.iterdir()] == ["in.tar"]
