import importlib.util
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.prepare import columns, inputs
from hyperclip_jax.data.prepare.inputs import Tar
from hyperclip_jax.data.prepare.tally import BadInputError, Tally
from hyperclip_jax.data.records import offsets
from hyperclip_jax.data.records.box_forms import Form
from hyperclip_jax.data.records.sample import Reading
from tests.data.tars import (
  grit_meta,
  jpeg,
  processed_members,
  raw_members,
  write_tar,
)

needs_pyarrow = pytest.mark.skipif(
  importlib.util.find_spec("pyarrow") is None, reason="needs pyarrow"
)
ROW = [0.0, 10.0, 0.0, 0.0, 0.5, 0.5, 0.99]


FRACTIONS = Form()


def read(path, form=FRACTIONS):
  tally = Tally()
  reading = Reading(8, form)
  return list(inputs.read(Tar(str(path)), tally, reading)), tally


def bare_members(key, **fields):
  """A raw record as img2dataset writes it without additional columns."""
  meta = grit_meta(key=key, **fields)
  del meta["noun_chunks"], meta["ref_exps"]
  return [
    (f"{key}.jpg", jpeg()),
    (f"{key}.json", json.dumps(meta).encode()),
    (f"{key}.txt", b""),
  ]


def write_parquet(path, **columns):
  import pyarrow
  from pyarrow import parquet

  parquet.write_table(pyarrow.table(columns), path)


def test_raw_record(tmp_path):
  members = raw_members("d/0001", 3, exif="{}", label="ball")
  (sample,), tally = read(write_tar(tmp_path / "a.tar", members))
  assert sample.key == "d/0001"
  assert sample.caption == "a red ball on a wooden table"
  assert sample.image == jpeg(3)
  assert sample.parts == (
    ("a red ball", (0.0, 0.0, 0.5, 0.5), None),
    ("a wooden table", (0.1, 0.2, 1.0, 1.0), None),
    ("a red ball on a wooden table", (0.0, 0.0, 1.0, 1.0), None),
  )
  assert sample.meta["url"] == "http://example.com/1.jpg"
  assert sample.meta["label"] == "ball"
  assert not sample.meta.keys() & {"caption", "key", "noun_chunks", "exif"}
  assert not tally.records
  assert not tally.boxes


@pytest.mark.parametrize("suffix", ["jpeg", "png", "webp", "JPG"])
def test_raw_images_of_any_suffix(tmp_path, suffix):
  image, meta, _ = raw_members("a")
  path = write_tar(tmp_path / "a.tar", [(f"a.{suffix}", image[1]), meta])
  assert read(path)[0][0].image == image[1]


@pytest.mark.parametrize(
  ("rows", "phrases", "reason"),
  [
    ([ROW, None], 1, "bad row"),
    ([[0, 10, 0, 0, 1, 1]], 0, "bad row"),
    ([["0", 10, 0, 0, 1, 1, 1]], 0, "bad row"),
    ([[0, 29, 0, 0, 1, 1, 1]], 0, "bad offsets"),
    ([[-1, 4, 0, 0, 1, 1, 1]], 0, "bad offsets"),
    ([[4, 4, 0, 0, 1, 1, 1]], 0, "bad offsets"),
    ([[float("nan"), 4, 0, 0, 1, 1, 1], ROW], 1, "bad offsets"),
    ([ROW, ROW], 1, "phrase repeated"),
  ],
)
def test_bad_rows_are_counted_and_the_record_is_kept(
  tmp_path, rows, phrases, reason
):
  members = raw_members("a", noun_chunks=rows, ref_exps=None)
  (sample,), tally = read(write_tar(tmp_path / "a.tar", members))
  assert len(sample.parts) == phrases
  assert sample.left_out == {reason: 1}
  assert not tally.records


@pytest.mark.parametrize(
  ("data", "reason"),
  [
    (b"{", "bad json"),
    (b"[1]", "bad json"),
    (b"[" * 200_000, "bad json"),
    (b'{"caption": "\xff"}', "not utf-8"),
    (b"{}", "no caption"),
    (b'{"caption": 3, "ref_exps": []}', "no caption"),
    (b'{"caption": null, "ref_exps": []}', "no caption"),
    (b'{"caption": "a", "noun_chunks": 3}', "noun_chunks is not a list"),
    (b'{"caption": "a", "ref_exps": "[0"}', "ref_exps is not a list"),
    (b'{"caption": "' + b"a" * (1 << 20) + b'"}', "member too large"),
  ],
)
def test_bad_raw_records_are_counted_and_the_next_is_read(
  tmp_path, data, reason
):
  members = [("a.jpg", jpeg()), ("a.json", data), *raw_members("b")]
  samples, tally = read(write_tar(tmp_path / "a.tar", members))
  assert [sample.key for sample in samples] == ["b"]
  assert tally.records == {reason: 1}
  assert tally.examples == {reason: "a"}


def test_incomplete_and_repeated_records_are_counted(tmp_path):
  whole = raw_members("a", 1)
  members = [
    *whole,
    *raw_members("no_json")[:1],
    *raw_members("no_image")[1:],
    *raw_members("a", 2),
    *whole[:1],
  ]
  samples, tally = read(write_tar(tmp_path / "a.tar", members))
  assert [sample.image for sample in samples] == [jpeg(1)]
  assert tally.records == {"missing member": 2, "duplicate key": 2}
  assert tally.examples == {"missing member": "no_json", "duplicate key": "a"}


def test_first_record_of_a_key_counts_even_if_it_is_bad(tmp_path):
  members = [("a.jpg", jpeg()), ("a.json", b"{"), *raw_members("a")]
  samples, tally = read(write_tar(tmp_path / "a.tar", members))
  assert not samples
  assert tally.records == {"bad json": 1, "duplicate key": 1}


def test_an_image_of_absurd_size_is_not_read(tmp_path, monkeypatch):
  monkeypatch.setattr(offsets, "MAX_RECORD", 100)
  _, tally = read(write_tar(tmp_path / "a.tar", raw_members("a")))
  assert tally.records == {"record too large": 1}


def test_lists_may_be_texts(tmp_path):
  meta = grit_meta()
  text = {n: json.dumps(meta[n]) for n in ("noun_chunks", "ref_exps")}
  (sample,), tally = read(
    write_tar(tmp_path / "a.tar", raw_members("a", **text))
  )
  (wanted,), _ = read(write_tar(tmp_path / "b.tar", raw_members("a")))
  assert sample.parts == wanted.parts
  assert not sample.left_out
  assert not tally.records


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_captioned_images(tmp_path, suffix):
  members = [(f"a.{suffix}", jpeg()), ("a.txt", b"a cat"), ("b.txt", b"no")]
  (sample,), tally = read(write_tar(tmp_path / "a.tar", members))
  assert (sample.key, sample.caption, sample.parts) == ("a", "a cat", ())
  assert sample.image == jpeg()
  assert tally.records == {"missing member": 1}


def test_captions_may_lie_beside_their_images(tmp_path):
  for name in ("b/1", "a/2", "a/3", "a/4"):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / f"{name}.jpg").write_bytes(jpeg(int(name[-1])))
    (tmp_path / f"{name}.txt").write_text(f"picture {name}\n")
  (tmp_path / "a/3.txt").unlink()
  (tmp_path / "a/4.txt").write_bytes(b"\xff\xfe")
  sources = inputs.find([f"{tmp_path}/"], None, 3)
  tally = Tally()
  found = [s for source in sources for s in inputs.samples(source, tally)]
  assert [(s.meta["file_name"], s.caption.strip()) for s in found] == [
    ("a/2.jpg", "picture a/2"),
    ("b/1.jpg", "picture b/1"),
  ]
  assert tally.records == {"no caption": 2}
  before = [inputs.describe(source) for source in sources]
  (tmp_path / "b/1.txt").write_text("another caption")
  after = [inputs.describe(source) for source in sources]
  assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_a_folder_of_images_alone_is_told_what_it_lacks(tmp_path):
  folder = tmp_path / "out/00000"
  folder.mkdir(parents=True)
  (folder / "0.jpg").write_bytes(jpeg())
  for pattern in (folder, tmp_path / "out", f"{folder}/*"):
    with pytest.raises(ValueError, match=r"caption of a\.jpg into a\.txt besi"):
      inputs.find([str(pattern)], None, 10)


def test_boxes_in_pixels_are_of_the_original_image(tmp_path):
  row = [0, 10, 64, 48, 320, 240, 0.9]
  fields = {"noun_chunks": [row], "ref_exps": None}
  original = {"original_width": 640, "original_height": 480}
  for sizes in (original, {"width": 640, "height": 480}):
    members = raw_members("a", **fields, **sizes)
    path = write_tar(tmp_path / "a.tar", members)
    (sample,), _ = read(path, Form("pixels"))
    assert sample.parts[0].box == (0.1, 0.1, 0.5, 0.5)
  (sample,), tally = read(path, Form("pixels", "xywh"))
  assert sample.parts[0].box == (0.1, 0.1, 0.6, 0.6)
  assert tally.found == [((64, 48, 320, 240), (640, 480))]


def test_boxes_in_pixels_of_no_size_are_of_the_image_itself(tmp_path):
  row = [0, 10, 16, 12, 32, 24, 0.9]
  bare = grit_meta(noun_chunks=[row], ref_exps=[], width=None, height=None)
  members = [("a.jpg", jpeg()), ("a.json", json.dumps(bare).encode())]
  path = write_tar(tmp_path / "b.tar", members)
  (sample,), tally = read(path, Form("pixels"))
  assert sample.parts[0].box == (0.25, 0.25, 0.5, 0.5)
  assert tally.found[0].size == (64, 48)


JSON = st.recursive(
  st.none()
  | st.booleans()
  | st.integers()
  | st.floats()
  | st.text(max_size=4)
  | st.just(ROW),
  lambda inner: (
    st.lists(inner, max_size=8)
    | st.dictionaries(st.text(max_size=3), inner, max_size=3)
  ),
  max_leaves=12,
)
FIELDS = st.sampled_from(["caption", "noun_chunks", "ref_exps", "width", "id"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(FIELDS, JSON))
def test_any_json_is_a_sample_or_a_rejection(tmp_path_factory, fields):
  path = tmp_path_factory.mktemp("tars") / "a.tar"
  samples, tally = read(write_tar(path, raw_members("a", **fields)))
  assert len(samples) + tally.records.total() == 1
  for sample in samples:
    assert all(part.text in sample.caption for part in sample.parts)


def test_processed_record(tmp_path):
  members = processed_members("k", parents=("a ball", "red"))
  (sample,), _ = read(write_tar(tmp_path / "a.tar", members))
  assert sample.key == "k"
  assert sample.caption == "a red ball"
  assert sample.parts == (
    ("a ball", (0.0, 0.0, 1.0, 1.0), jpeg(1)),
    ("red", (0.0, 0.0, 1.0, 1.0), jpeg(2)),
  )


def test_parents_come_in_the_order_of_their_numbers(tmp_path):
  texts = [str(i) for i in range(1003)]
  members = processed_members("k", parents=texts[:1])
  members[2] = ("k.numparents.txt", b"1003")
  for i in reversed(range(1, 1003)):
    members += [(f"k.parent{i:03d}.jpg", b""), (f"k.parent{i:03d}.txt", b"x")]
    members[-1] = (f"k.parent{i:03d}.txt", texts[i].encode())
  (sample,), _ = read(write_tar(tmp_path / "a.tar", members))
  assert [part.text for part in sample.parts] == texts[:1000]
  assert sample.left_out == {"too many parts": 3}


@pytest.mark.parametrize(
  ("change", "records", "boxes"),
  [
    ({"k.numparents.txt": b"3"}, {"parents miscounted": 1}, {}),
    ({"k.numparents.txt": b"\xff"}, {"not utf-8": 1}, {}),
    ({"k.numparents.txt": None}, {"missing member": 1}, {}),
    ({"k.child.txt": None}, {"missing member": 1}, {}),
    ({"k.child.jpg": None}, {"missing member": 1}, {}),
    ({"k.parent001.jpg": None}, {"parents miscounted": 1}, {}),
    ({"k.parent001.txt": None}, {}, {"no phrase": 1}),
  ],
)
def test_bad_processed_records_are_counted(tmp_path, change, records, boxes):
  members = dict(processed_members("k")) | change
  left = [(name, data) for name, data in members.items() if data is not None]
  left += processed_members("next")
  samples, tally = read(write_tar(tmp_path / "a.tar", left))
  assert samples[-1].key == "next"
  assert tally.records == records
  assert samples[0].left_out == boxes


@needs_pyarrow
def test_boxes_come_from_the_parquet_beside_the_tar(tmp_path):
  members = [m for key in ("00", "01", "02", "03") for m in bare_members(key)]
  members += raw_members("04")  # has its own, and no row
  path = write_tar(tmp_path / "0.tar", members)
  write_parquet(
    tmp_path / "0.parquet",
    key=["99", "02", "01", "00"],  # of a failed download; in any order
    status=["failed_to_download", "success", "success", "success"],
    noun_chunks=[None, None, [[0.0, 10.0, 0.0, 0.0, 0.5, 0.5, 0.9]], [ROW[:6]]],
    ref_exps=[[ROW], [[14.0, 28.0, 0.0, 0.0, 1.0, 1.0, 0.8]], [], []],
  )
  samples, tally = read(path)
  found = {s.key: [part.text for part in s.parts] for s in samples}
  assert found.pop("04")[0] == "a red ball"
  assert found == {"00": [], "01": ["a red ball"], "02": ["a wooden table"]}
  assert tally.records == {"no parquet row": 1}
  assert tally.examples == {"no parquet row": "03"}
  assert samples[0].left_out == {"bad row": 1}
  assert "noun_chunks" not in samples[1].meta


@needs_pyarrow
def test_a_parquet_of_another_kind_is_named(tmp_path):
  path = write_tar(tmp_path / "0.tar", bare_members("00"))
  write_parquet(tmp_path / "0.parquet", url=["http://example.com"])
  with pytest.raises(BadInputError, match=r"0\.parquet: .*no column 'key'"):
    read(path)
  (tmp_path / "0.parquet").write_bytes(b"PAR1 no")
  with pytest.raises(BadInputError, match=r"0\.parquet: cannot be read"):
    read(path)


def test_without_a_parquet_bare_records_are_captioned_images(tmp_path):
  (sample,), tally = read(write_tar(tmp_path / "0.tar", bare_members("00")))
  assert sample.caption == "a red ball on a wooden table"
  assert sample.parts == ()
  assert not tally.records


@needs_pyarrow
def test_a_small_parquet_of_gigabytes_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(columns, "MAX_BYTES", 1 << 22)
  path = write_tar(tmp_path / "0.tar", bare_members("0"))
  write_parquet(
    tmp_path / "0.parquet",
    key=[str(i) for i in range(64)],
    caption=["a" * (1 << 18)] * 64,
    noun_chunks=[[ROW]] * 64,
  )
  with pytest.raises(BadInputError, match=r"0\.parquet: .*more than 4,194,304"):
    read(path)


def test_missing_pyarrow_is_named_with_the_extra(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
  (tmp_path / "0.parquet").touch()
  read(write_tar(tmp_path / "0.tar", raw_members("00")))  # has its own boxes
  write_tar(tmp_path / "0.tar", bare_members("00"))
  with pytest.raises(ModuleNotFoundError, match=r"hyperclip-jax\[prepare\]"):
    read(tmp_path / "0.tar")


def test_damaged_tars_and_those_of_another_layout_are_errors(tmp_path):
  path = tmp_path / "a.tar"
  write_tar(path, raw_members("a") + raw_members("b"))
  path.write_bytes(path.read_bytes()[:3000])
  with pytest.raises(BadInputError, match=r"a\.tar: damaged or truncated"):
    read(path)
  write_tar(path, [("a.jpg", b""), ("a.parts.json", b"")])
  with pytest.raises(BadInputError, match=r"a\.tar: already prepared"):
    read(path)
  write_tar(path, [("a.jpg", b""), ("a.mp3", b"")])
  with pytest.raises(BadInputError, match=r"suffixes jpg, mp3; want"):
    read(path)
  with pytest.raises(BadInputError, match=r"none\.tar"):
    read(tmp_path / "none.tar")
  assert read(write_tar(path, []))[0] == []


def test_find_sorts_inputs_and_cuts_jsons(tmp_path):
  for name in ("b.tar", "a.tar"):
    write_tar(tmp_path / name, [])
  images = [{"id": i} for i in range(5)]
  content = {"images": images, "annotations": []}
  (tmp_path / "aa.json").write_text(json.dumps(content))
  sources = inputs.find([f"{tmp_path}/*"], None, 2)
  found = [inputs.describe(source) for source in sources]
  assert [row["path"].rsplit("/", 1)[1] for row in found] == [
    "a.tar", "aa.json", "aa.json", "aa.json", "b.tar"
  ]  # fmt: skip
  assert [row.get("images") for row in found] == [
    None, [0, 2], [2, 4], [4, 5], None
  ]  # fmt: skip
  assert found[1]["bytes"] == (tmp_path / "aa.json").stat().st_size


def test_find_names_what_it_cannot_take(tmp_path):
  write_tar(tmp_path / "a.tar", [])
  with pytest.raises(ValueError, match=r"--images=.* needs a JSON"):
    inputs.find([f"{tmp_path}/a.tar"], str(tmp_path), 10)
  (tmp_path / "a.txt").touch()
  with pytest.raises(ValueError, match=r"a\.txt; want NAME\.tar, or"):
    inputs.find([f"{tmp_path}/*"], None, 10)
  (tmp_path / "a.parquet").touch()
  with pytest.raises(ValueError, match=r"a\.parquet; .*--output_format webd"):
    inputs.find([f"{tmp_path}/*"], None, 10)
  (tmp_path / "a.json").write_text('{"images": [{}], "annotations": []}')
  with pytest.raises(ValueError, match=r"--images=nowhere is not a folder"):
    inputs.find([f"{tmp_path}/a.json"], "nowhere", 10)
