"""Grounded folders: what is in them, and how a run is continued or shared."""

import csv
import functools
import importlib.util
import io
import json
import pathlib
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.commands import door
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.ground import run
from hyperclip_jax.data.ground.options import Options
from hyperclip_jax.data.ground.select import Found
from hyperclip_jax.data.ground.shard import Tools
from hyperclip_jax.data.ground.text import Parsed, Phrase
from hyperclip_jax.data.prepare.tally import BadInputError
from hyperclip_jax.data.records import images
from tests.data.ground import planted
from tests.data.ground.planted import OPTIONS
from tests.data.tars import jpeg, raw_members, turned, write_tar


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
  """Three shards of shapes: their pattern."""
  folder = tmp_path_factory.mktemp("shapes") / "s"
  shapes.generate(
    folder, train=60, val=0, objects=0, image_size=64, shard_size=25
  )
  return f"{folder}/train/*.tar"


@pytest.fixture(scope="module")
def pairs(raw, tmp_path_factory):
  """The same without their boxes, as images with texts."""
  folder = tmp_path_factory.mktemp("pairs")
  every = planted.records(raw)
  for i in range(0, len(every), 25):
    members = []
    for record in every[i : i + 25]:
      members += [(f"{record.key}.jpg", record.image)]
      members += [(f"{record.key}.txt", record.caption.encode())]
    write_tar(folder / f"{i:02d}.tar", members)
  return f"{folder}/*.tar"


def ground(pattern, folder, tools, options=OPTIONS, **kwargs):
  """Grounds pairs; `tools` may be the pattern of shards to plant."""
  if isinstance(tools, str):
    tools = functools.partial(planted.tools, tools)
  return run.ground([str(pattern)], str(folder), options, tools, **kwargs)


def files(folder):
  """Files of a folder, but for the indices that a reader leaves."""
  return {
    path.name: path.read_bytes()
    for path in folder.iterdir()
    if path.suffix != ".index"
  }


def contents(path):
  with tarfile.open(path) as tar:
    return {m.name: tar.extractfile(m).read() for m in tar}


@pytest.fixture(scope="module")
def grounded(raw, pairs, tmp_path_factory):
  folder = tmp_path_factory.mktemp("out") / "grounded"
  ground(pairs, folder, raw)
  return folder


def test_shapes_come_back_with_their_own_boxes(raw, grounded, tmp_path):
  """As raw GRIT: the loader and `prepare` read the same parts."""
  before = planted.records(raw)
  out = tmp_path / "prepared"
  flags = ["--input", f"{grounded}/*.tar", "--output", str(out)]
  door.run(["prepare", *flags, "--min_side=1", "--jobs=1"])
  for after in (
    planted.records(f"{grounded}/*.tar"),
    planted.records(str(out)),
  ):
    assert [r.key for r in after] != []
    assert len(after) == len(before)
    for one, other in zip(before, after, strict=True):
      assert one.caption == other.caption
      assert one.image == other.image
      assert one.parts == other.parts
  assert door.run(["ground", "--verify", str(grounded)]) == 0


def test_the_manifest_says_how_the_boxes_were_found(grounded):
  content = json.loads((grounded / "manifest.json").read_text())
  assert content["format"] == "hyperclip-grounded"
  assert content["options"] == OPTIONS._asdict()
  assert content["totals"]["records"] == 60
  assert content["totals"]["shards"] == 3


def test_a_record_is_raw_grit(pairs, grounded):
  members = contents(grounded / "00001.tar")
  assert list(members)[:2] == ["0000100000.jpg", "0000100000.json"]
  meta = json.loads(members["0000100000.json"])
  (text,) = [
    data.decode()
    for name, data in contents(pairs.replace("*", "25")).items()
    if name == f"{meta['key']}.txt"
  ]
  assert meta["caption"] == text
  assert (meta["width"], meta["height"]) == (64, 64)
  assert all(len(row) == 7 for row in meta["noun_chunks"])
  assert len(meta["noun_chunks"]) == len(meta["ref_exps"])


def test_a_run_is_continued_to_the_same_bytes(raw, pairs, grounded, tmp_path):
  out, left = tmp_path / "out", 2
  whole = planted.tools(raw)

  def until(pictures, phrases):
    nonlocal left
    left -= 1
    if left < 0:
      raise RuntimeError("killed")
    return whole.detect(pictures, phrases)

  with pytest.raises(RuntimeError, match="killed"):
    ground(pairs, out, lambda: Tools(whole.parse, until))
  names = ["00000.json", "00000.tar", "00001.json", "00001.tar"]
  assert sorted(files(out)) == names
  stamp = (out / "00000.tar").stat().st_mtime_ns
  (out / "00002.tar.0a1b2c3d.tmp").touch()  # of a run that was killed
  ground(pairs, out, raw)
  assert files(out) == files(grounded)
  assert (out / "00000.tar").stat().st_mtime_ns == stamp


def test_nothing_is_loaded_if_nothing_is_left(pairs, grounded):
  ground(pairs, grounded, lambda: pytest.fail("loaded"))


def test_other_options_are_refused(raw, pairs, grounded):
  with pytest.raises(
    ValueError, match=r"made with --threshold=0\.3 \(now 0\.5"
  ):
    ground(pairs, grounded, raw, OPTIONS._replace(threshold=0.5))


def test_workers_share_a_folder(raw, pairs, grounded, tmp_path):
  out = tmp_path / "out"
  first = ground(pairs, out, raw, worker=(1, 2))
  assert first["totals"]["shards"] == 1
  assert sorted(files(out)) == ["00001.json", "00001.tar"]
  (out / "00002.tar.0a1b2c3d.tmp").touch()  # of another worker, at work
  ground(pairs, out, raw, worker=(0, 2))
  found = files(out)
  assert found.pop("00002.tar.0a1b2c3d.tmp") == b""
  assert found == files(grounded)


def test_raw_shards_of_the_user_are_not_overwritten(raw, pairs, tmp_path):
  write_tar(tmp_path / "00000.tar", raw_members("a"))
  with pytest.raises(ValueError, match=r"holds 00000\.tar, which is not part"):
    ground(pairs, tmp_path, raw)


@pytest.mark.skipif(
  importlib.util.find_spec("apache_beam") is None, reason="needs apache-beam"
)
def test_beam_makes_the_folder_of_a_local_run(raw, pairs, grounded, tmp_path):
  script = f"""
import functools
from tests.data.ground import planted
from tests.data.ground.planted import OPTIONS
from tests.data.ground.planted import OPTIONS
from hyperclip_jax.data.ground import run
tools = functools.partial(planted.tools, {raw!r})
out = {str(tmp_path / "out")!r}
beam = ["--runner=DirectRunner"]
run.ground([{pairs!r}], out, OPTIONS, tools, beam_args=beam)
"""
  root = pathlib.Path(__file__).parents[3]
  subprocess.run([sys.executable, "-c", script], cwd=root, check=True)
  assert files(tmp_path / "out") == files(grounded)


def test_boxes_of_the_input_are_replaced(raw, grounded, tmp_path):
  ground(raw, tmp_path / "out", raw)
  records = planted.records(str(tmp_path / "out"))
  assert [r.parts for r in records] == [
    r.parts for r in planted.records(str(grounded))
  ]
  assert records[0].meta["url"] == "shapes:train/0"


WORDS = Phrase((2, 5), (2, 5))


def always(pictures, phrases):
  """Finds each phrase at the top left."""
  return [
    Found(np.array([[0.0, 0.0, 0.25, 0.5]]), np.eye(1, len(p))) for p in phrases
  ]


def anything(chunks):
  return ([Parsed((WORDS,)) for _ in chunk] for chunk in chunks)


def png(width, height):
  data = io.BytesIO()
  Image.new("RGB", (width, height), (9, 9, 9)).save(data, "png")
  return data.getvalue()


def test_a_table_of_files_with_all_its_faults(tmp_path):
  """They are counted; good rows keep their captions as they are."""
  folder = tmp_path / "pictures"
  folder.mkdir()
  (folder / "a.jpg").write_bytes(jpeg(0))
  (folder / "turned.jpg").write_bytes(turned(jpeg(1)))
  (folder / "b.png").write_bytes(png(40, 20))
  (folder / "bad.jpg").write_bytes(b"no image")
  rows = [
    ("a.jpg", " a  dog,\nbig "),
    (str(folder / "a.jpg"), "a cat"),
    ("turned.jpg", "a “dog” \U0001f600"),
    ("b.png", "a png"),
    ("bad.jpg", "a dog"),
    ("none.jpg", "a dog"),
    ("../secret.jpg", "a dog"),
    ("/etc/passwd", "a dog"),
    ("a.jpg",),
  ]
  with open(tmp_path / "pairs.csv", "w", newline="") as file:
    csv.writer(file).writerows([("id", "Image", "caption")[1:], *rows])
  made = ground(
    tmp_path / "pairs.csv",
    tmp_path / "out",
    lambda: Tools(anything, always),
    images=str(folder),
  )
  assert made["totals"]["rejected_records"] == {
    "bad image": 1,
    "file outside of the folder": 2,
    "missing image": 1,
    "no caption": 1,
  }
  records = planted.records(f"{tmp_path}/out/*.tar")
  assert [r.meta["caption"] for r in records] == [c for _, c in rows[:4]]
  assert records[0].image == jpeg(0)
  # Stored upright, so that boxes hold with and without EXIF.
  assert images.size(records[2].image) == (48, 64)
  assert images.orientation(records[2].image) == 1
  assert (records[2].meta["width"], records[2].meta["height"]) == (48, 64)
  assert records[3].image.startswith(b"\xff\xd8")


def test_a_folder_with_a_table_is_an_input(tmp_path):
  (tmp_path / "a.jpg").write_bytes(jpeg())
  (tmp_path / "pairs.tsv").write_text("filepath\ttitle\na.jpg\ta dog\n")
  made = ground(
    tmp_path, tmp_path.parent / "out2", lambda: Tools(anything, always)
  )
  assert made["totals"]["records"] == 1


def test_parquet_tables_are_read_and_others_named(tmp_path):
  pyarrow = pytest.importorskip("pyarrow")
  from pyarrow import parquet

  (tmp_path / "a.jpg").write_bytes(jpeg())
  path = tmp_path / "p.parquet"
  table = {"image_path": ["a.jpg", None], "caption": ["a dog", "a cat"]}
  parquet.write_table(pyarrow.table(table), path)
  tools = lambda: Tools(anything, always)  # noqa: E731
  made = ground(path, tmp_path / "out", tools)
  assert made["totals"]["rejected_records"] == {"no file name": 1}
  parquet.write_table(pyarrow.table({"jpg": [b""], "caption": ["a"]}), path)
  with pytest.raises(
    ValueError, match="has the columns jpg, caption; want one"
  ):
    ground(path, tmp_path / "other", tools)
  path.write_bytes(b"PAR1 no")
  with pytest.raises(ValueError, match=r"p\.parquet: cannot be read"):
    ground(path, tmp_path / "other", tools)
  (tmp_path / "bad.csv").write_text('image,caption\na.jpg,"a\n')
  with pytest.raises(ValueError, match=r"bad\.csv, line .*: not a row"):
    ground(tmp_path / "bad.csv", tmp_path / "other", tools)


def test_pairs_without_a_box_are_dropped_and_counted(tmp_path, pairs):
  def nothing(pictures, phrases):
    return [Found(np.zeros((0, 4)), np.zeros((0, len(p)))) for p in phrases]

  made = ground(pairs, tmp_path / "o", lambda: Tools(anything, nothing))
  assert made["totals"]["rejected_records"] == {
    "no box above the threshold": 60
  }


def test_a_damaged_tar_is_an_error_or_left_out(tmp_path):
  path = write_tar(tmp_path / "a.tar", raw_members("a"))
  with open(path, "r+b") as file:
    file.truncate(2000)
  tools = lambda: Tools(anything, always)  # noqa: E731
  with pytest.raises(BadInputError, match="damaged or truncated"):
    ground(path, tmp_path / "out", tools)
  made = ground(path, tmp_path / "out", tools, skip_bad=True)
  assert made["totals"]["skipped"] == 1


def test_options_out_of_range_are_named(tmp_path, pairs):
  for name, value in {"threshold": 1.5, "nms_iou": -1.0, "min_side": 0}.items():
    with pytest.raises(ValueError, match=f"--{name}={value}: want"):
      ground(pairs, tmp_path, pairs, Options(**{name: value}))


@pytest.mark.parametrize("value", ["2/2", "x", "0/0", "-1/2"])
def test_workers_are_numbered_from_0(value, tmp_path):
  flags = ["--input=a", "--output=b", "--detector=c", "--spacy-model=d"]
  with pytest.raises(SystemExit, match=r"--worker=.*: want I/N"):
    door.run(["ground", *flags, f"--worker={value}"])


def test_what_is_missing_is_named():
  with pytest.raises(
    SystemExit, match="give --output, --spacy_model, or --ver"
  ):
    door.run(["ground", "--input=a", "--detector=b"])
