import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.data.embedded import photos, shapes
from hyperclip_jax.data.prepare import run, shard
from hyperclip_jax.data.prepare.tally import BadInputError
from hyperclip_jax.data.records import shards
from tests.data.prepare.test_inputs import (
  bare_members,
  needs_pyarrow,
  write_parquet,
)
from tests.data.tars import jpeg, processed_members, raw_members, write_tar

COMMAND = [sys.executable, "-m", "hyperclip_jax", "prepare"]


def main(*flags, jobs=1):
  return door.run(["prepare", *map(str, flags), f"--jobs={jobs}"])


def files(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_raw(folder, shards=3, records=4, size=(48, 64)):
  """Raw tars whose records have images of this height and width."""
  folder.mkdir(exist_ok=True)
  image = jpeg(0, *size)
  for i in range(shards):
    members = []
    for j in range(records):
      _, meta, text = raw_members(f"{i}{j:04d}")
      members += [(f"{i}{j:04d}.jpg", image), meta, text]
    write_tar(folder / f"raw{i}.tar", members)
  return f"{folder}/*.tar"


def read(folder):
  source = shards.TarSource(shards.expand(f"{folder}/*.tar"))
  return [source[i] for i in range(len(source))]


def totals(folder):
  return json.loads((folder / "manifest.json").read_text())["totals"]


def verify(folder, capsys):
  """The lines that --verify prints, and its exit code."""
  capsys.readouterr()
  code = main("--verify", folder)
  return capsys.readouterr().out.splitlines(), code


def test_shapes_come_through_whole(tmp_path, capsys):
  shapes.generate(
    tmp_path / "in", train=60, val=0, objects=0, image_size=128, shard_size=25
  )
  out = tmp_path / "out"
  main("--input", f"{tmp_path}/in/train/*.tar", "--output", out)
  records = read(out)
  before = read(tmp_path / "in/train")
  assert [r.key for r in records] == [r.key for r in before]
  assert [r.caption for r in records] == [r.caption for r in before]
  for record, raw in zip(records, before, strict=True):
    assert [(p.text, p.box) for p in record.parts] == [
      (p.text, p.box) for p in raw.parts
    ]
    assert record.image == raw.image
  assert (totals(out)["records"], totals(out)["shards"]) == (60, 3)
  printed = capsys.readouterr()
  assert f"{out}: 60 records with" in printed.out
  assert "3/3 shards, 60 records" in printed.err
  lines, code = verify(out, capsys)
  assert (lines, code) == ([f"{out}: every file is as its manifest says"], 0)


@pytest.mark.skipif(
  importlib.util.find_spec("skimage") is None, reason="needs scikit-image"
)
def test_photos_are_scaled_and_cropped(tmp_path):
  path = photos.write(tmp_path)
  out = tmp_path / "out"
  main("--input", path, "--output", out, "--crops", "--long_side=256")
  records = read(out)
  assert [r.key for r in records] == [photo.key for photo in photos.PHOTOS]
  for record, photo in zip(records, photos.PHOTOS, strict=True):
    assert [p.text for p in record.parts] == [text for text, _ in photo.parts]
  assert totals(out)["rejected_boxes"] == {}


def test_processed_tars_come_through(tmp_path):
  path = write_tar(tmp_path / "0.tar", processed_members("a", parents=("b",)))
  main("--input", path, "--output", tmp_path / "out")
  (record,) = read(tmp_path / "out")
  assert (record.key, record.caption) == ("a", "a red ball")
  assert record.parts[0].crop == jpeg(1)


@needs_pyarrow
def test_boxes_of_a_parquet_come_through(tmp_path):
  members = bare_members("000000000") + bare_members("000000001")
  path = write_tar(tmp_path / "00000.tar", members)
  write_parquet(
    tmp_path / "00000.parquet",
    key=["000000000", "000000001"],
    noun_chunks=[[[0.0, 10.0, 0.0, 0.0, 0.75, 0.75, 0.9]], []],
    ref_exps=[[], []],
  )
  main("--input", path, "--output", tmp_path / "out")
  found = [[p.text for p in r.parts] for r in read(tmp_path / "out")]
  assert found == [["a red ball"], []]


def test_grounded_json_is_cut_into_shards(tmp_path):
  folder = tmp_path / "images"
  folder.mkdir()
  names = [f"{i}.jpg" for i in range(5)]
  for i, name in enumerate(names):
    (folder / name).write_bytes(jpeg(i, 60, 80))
  image = {"width": 640, "height": 480, "caption": "a dog"}
  content = {
    "images": [image | {"id": n, "file_name": n} for n in names],
    "annotations": [
      {"image_id": n, "bbox": [0, 0, 320, 480], "phrase": "fur"} for n in names
    ],
  }
  content["images"][3]["height"] = 640  # as if it had been turned
  (tmp_path / "boxes.json").write_text(json.dumps(content))
  out = tmp_path / "out"
  flags = ("--input", tmp_path / "boxes.json", "--images", folder)
  main(*flags, "--output", out, "--shard_size=2")
  assert sorted(p.name for p in out.glob("*.tar")) == [
    "00000.tar", "00001.tar", "00002.tar"
  ]  # fmt: skip
  records = read(out)
  assert [r.key for r in records] == [n for n in names if n != "3.jpg"]
  assert records[1].image == jpeg(1, 60, 80)
  assert records[1].parts[0].box == (0, 0, 0.5, 1)
  assert totals(out)["rejected_records"] == {"image of another shape": 1}


def test_a_finished_run_and_a_grown_input(tmp_path):
  pattern = write_raw(tmp_path / "in", shards=2)
  out = tmp_path / "out"
  main("--input", pattern, "--output", out)
  before = files(out)
  stamp = (out / "00000.tar").stat().st_mtime_ns
  main("--input", pattern, "--output", out)
  assert files(out) == before
  write_raw(tmp_path / "in", shards=3)
  main("--input", pattern, "--output", out)
  assert totals(out)["shards"] == 3
  assert (out / "00000.tar").stat().st_mtime_ns == stamp


def test_a_killed_run_goes_on_where_it_was(tmp_path, capsys):
  pattern = write_raw(tmp_path / "in", 6, 6, (1200, 1600))
  out = tmp_path / "out"
  flags = ["--input", pattern, "--output", str(out), "--jobs=2"]
  process = subprocess.Popen(
    [*COMMAND, *flags], stderr=subprocess.DEVNULL, start_new_session=True
  )
  limit = time.monotonic() + 60
  while not (any(out.glob("*.tmp")) and any(out.glob("0*.json"))):
    assert process.poll() is None
    assert time.monotonic() < limit
    time.sleep(0.005)
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  done = {path: path.stat().st_mtime_ns for path in out.glob("0*.json")}
  assert 0 < len(done) < 6
  lines, code = verify(out, capsys)
  assert "manifest.json: missing; the run did not finish" in lines[0]
  assert code == 1
  main(*flags[:-1], jobs=2)
  assert {path: path.stat().st_mtime_ns for path in done} == done
  whole = tmp_path / "whole"
  main("--input", pattern, "--output", whole)  # by one process
  assert files(out) == files(whole)


def test_ctrl_c_ends_with_a_message_and_no_half_file(tmp_path):
  pattern = write_raw(tmp_path / "in", 4, 40, (1500, 2000))
  out = tmp_path / "out"
  # A shell that starts the tests in the background has them ignore the signal,
  # and their children would, too.
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  process = subprocess.Popen(
    [*COMMAND, "--input", pattern, "--output", str(out), "--jobs=2"],
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
  )
  signal.signal(signal.SIGINT, before)
  while not any(out.glob("*.tmp")):
    assert process.poll() is None
    time.sleep(0.005)
  os.killpg(process.pid, signal.SIGINT)
  _, errors = process.communicate(timeout=60)
  assert process.returncode == 130
  assert errors.splitlines()[-1].startswith(
    "SIGINT: ended; run the same command"
  )
  assert "Traceback" not in errors
  assert not any(out.glob("*.tmp"))


def test_a_damaged_tar_fails_or_is_skipped_and_tried_again(tmp_path, capsys):
  pattern = write_raw(tmp_path / "in")
  path = tmp_path / "in/raw1.tar"
  whole = path.read_bytes()
  path.write_bytes(whole[:5000])
  out = tmp_path / "out"
  flags = ("--input", pattern, "--output", out)
  with pytest.raises(SystemExit, match=r"error: .*raw1\.tar: damaged"):
    main(*flags)
  with pytest.raises(SystemExit, match=r"error: .*raw1\.tar: damaged"):
    main(*flags, jobs=2)
  main(*flags, "--on_bad_shard=skip")
  assert "raw1.tar: damaged" in capsys.readouterr().err
  assert "raw1.tar: damaged" in (out / "manifest.json").read_text()
  assert (totals(out)["skipped"], totals(out)["records"]) == (1, 8)
  assert verify(out, capsys)[1] == 0
  assert sorted(p.name for p in out.glob("*.tar")) == ["00000.tar", "00002.tar"]
  path.write_bytes(whole)
  main(*flags)
  assert (totals(out)["skipped"], totals(out)["records"]) == (0, 12)


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 3] ^= 1
  path.write_bytes(data)


def miscount(folder):
  for name in ("manifest.json", "00001.json"):
    path = folder / name
    text = path.read_text().replace('"records": 4', '"records": 5')
    path.write_text(text.replace('"records": 12', '"records": 15'))


@pytest.mark.parametrize(
  ("damage", "problems"),
  [
    (
      lambda out: flip(out / "00001.tar"),
      ["00001.tar: content has changed"],
    ),
    (lambda out: (out / "00001.tar").unlink(), ["00001.tar: missing"]),
    (lambda out: (out / "00001.json").unlink(), ["00001.json: missing"]),
    (lambda out: (out / "00003.tar").touch(), ["00003.tar: not in the manif"]),
    (
      lambda out: os.truncate(out / "00001.tar", 99),
      ["00001.tar: 99 bytes, n"],
    ),
    (lambda out: (out / "manifest.json").unlink(), ["manifest.json: missing"]),
    (
      lambda out: (out / "manifest.json").write_text("[]"),
      ["manifest.json: not a manifest of this version"],
    ),
    (
      lambda out: (out / "00001.json").write_bytes(
        (out / "00002.json").read_bytes()
      ),
      ["00001.json: differs from the manifest"],
    ),
    (
      miscount,
      [
        "00000.json: differs from the manifest",
        "00000.tar: 4 records, not 5",
        "00001.tar: 4 records, not 5",
        "00002.json: differs from the manifest",
        "00002.tar: 4 records, not 5",
      ],
    ),
    (
      lambda out: (out / "manifest.json").write_text(
        (out / "manifest.json").read_text().replace('"parts": 24', '"parts": 1')
      ),
      ["manifest.json: totals differ from the sums"],
    ),
  ],
)
def test_verify_prints_a_line_for_each_problem(
  tmp_path, capsys, damage, problems
):
  out = tmp_path / "out"
  main("--input", write_raw(tmp_path / "in"), "--output", out)
  damage(out)
  lines, code = verify(out, capsys)
  assert code == 1
  assert len(lines) == len(problems)
  for line, problem in zip(lines, problems, strict=True):
    assert line.startswith(f"{out}/{problem}")


def test_nothing_good_is_an_error(tmp_path):
  path = write_tar(tmp_path / "0.tar", raw_members("a", caption=""))
  with pytest.raises(SystemExit, match="no input has a good record"):
    main("--input", path, "--output", tmp_path / "out")


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    ([], "give --input and --output, or --verify"),
    (["--input=IN"], "give --input and --output, or --verify"),
    (["--verify=x", "--output=OUT"], "--verify goes without"),
    (
      ["--input=IN", "--output=OUT", "--jobs=0"],
      "--jobs: want a whole number from 1 on",
    ),
    (["--input=IN", "--output=OUT", "--qual=3"], "did you mean --quality?"),
    (["--input=IN", "--output=OUT", "--quality=0"], "--quality=0: want 1 to"),
    (["--input=IN", "--output=OUT", "--on_bad_shard=x"], "want fail or skip"),
    (
      ["--input=IN", "--output=OUT", "--boxes=inches"],
      "want fractions or percent",
    ),
    (["--input=none*.tar", "--output=OUT"], "no file matches 'none*.tar'"),
    (["--input=IN", "--output=OUT", "--images=."], "needs a JSON"),
    (["--input=IN", "--output=FOLDER"], "holds the input"),
  ],
)
def test_bad_flags_end_before_anything_is_made(
  tmp_path, capsys, flags, message
):
  pattern = write_raw(tmp_path / "in", shards=1)
  places = {"IN": pattern, "OUT": tmp_path / "out", "FOLDER": tmp_path / "in"}
  for name, place in places.items():
    flags = [flag.replace(f"={name}", f"={place}") for flag in flags]
  with pytest.raises(SystemExit) as caught:
    door.run(["prepare", *map(str, flags)])
  assert message in str(caught.value.code)
  assert not (tmp_path / "out").exists()
  assert [p.name for p in (tmp_path / "in").iterdir()] == ["raw0.tar"]


def test_a_folder_that_is_refused_is_left_as_it_was(tmp_path):
  pattern = write_raw(tmp_path / "in", shards=1)
  out = tmp_path / "out"
  out.mkdir()
  stray = "00000.tar.0a1b2c3d.tmp"
  names = ["paper.tex", ".index-notes.md", "00001.weights.ab12.tmp", stray]
  for name in names:
    (out / name).write_text(name)
  before = files(out)
  with pytest.raises(SystemExit, match="which is not part of a prepared"):
    main("--input", pattern, "--output", out)
  assert files(out) == before
  for name in names[:-1]:
    (out / name).unlink()
  main("--input", pattern, "--output", out)
  assert stray not in files(out)


def test_an_input_that_was_replaced_is_noticed(tmp_path):
  folder = tmp_path / "in"
  pattern = write_raw(folder, shards=1)
  out = tmp_path / "out"
  main("--input", pattern, "--output", out)
  path = folder / "raw0.tar"
  size = path.stat().st_size
  write_tar(path, [m for i in range(4) for m in raw_members(f"9{i:04d}")])
  assert path.stat().st_size == size
  with pytest.raises(
    SystemExit, match=r"00000\.json was made from raw0\.tar of"
  ):
    main("--input", pattern, "--output", out)


@needs_pyarrow
def test_a_parquet_that_was_replaced_is_noticed(tmp_path):
  tar = write_tar(tmp_path / "0.tar", bare_members("000000000"))
  flags = ("--input", tar, "--output", tmp_path / "out")

  def write(end):
    row = [0.0, 10.0, 0.0, 0.0, end, 0.9375, 0.9]
    write_parquet(
      tmp_path / "0.parquet", key=["000000000"], noun_chunks=[[row]]
    )
    return (tmp_path / "0.parquet").stat().st_size

  size = write(0.625)
  main(*flags)
  main(*flags)
  assert write(0.375) == size
  with pytest.raises(SystemExit, match=r"00000\.json was made from 0\.tar of"):
    main(*flags)
  write(0.625)
  main(*flags)
  (tmp_path / "0.parquet").unlink()
  with pytest.raises(SystemExit, match=r"which is now .* parquet digest none"):
    main(*flags)


def test_a_picture_of_a_json_that_was_replaced_is_noticed(tmp_path):
  folder = tmp_path / "images"
  folder.mkdir()
  images = [
    {"id": i, "file_name": f"{i}.jpg", "width": 64, "height": 48}
    | {"caption": "a dog"}
    for i in range(4)
  ]
  for i in range(3):  # the last is missing
    (folder / f"{i}.jpg").write_bytes(jpeg(i))
  (tmp_path / "boxes.json").write_text(
    json.dumps({"images": images, "annotations": []})
  )
  out = tmp_path / "out"
  flags = ("--input", tmp_path / "boxes.json", "--images", folder)
  flags = (*flags, "--output", out, "--shard_size=2")
  main(*flags)
  (folder / "other.jpg").write_bytes(b"none of its own")
  main(*flags)
  data, size = jpeg(9), (folder / "2.jpg").stat().st_size
  (folder / "2.jpg").write_bytes(data[:size].ljust(size, b"\0"))
  with pytest.raises(
    SystemExit, match=r"00001\.json was made from boxes\.json"
  ):
    main(*flags)
  other = tmp_path / "other"
  main(*flags[:-2], other, "--shard_size=2")
  (folder / "3.jpg").write_bytes(jpeg(3))
  with pytest.raises(
    SystemExit, match=r"00001\.json was made from boxes\.json"
  ):
    main(*flags[:-2], other, "--shard_size=2")


def test_inputs_of_equal_names_are_told_apart(tmp_path):
  for i, name in enumerate("ab"):
    (tmp_path / name).mkdir()
    write_tar(tmp_path / name / "0.tar", raw_members(f"{i}"))
  out = tmp_path / "out"
  main("--input", tmp_path / "a/0.tar", "--output", out)
  with pytest.raises(SystemExit, match=r"was made from 0\.tar of"):
    main("--input", tmp_path / "b/0.tar", "--output", out)
  both = tmp_path / "both"
  main("--input", f"{tmp_path}/[ab]/0.tar", "--output", both)
  assert [record.key for record in read(both)] == ["0", "1"]


def test_captions_alone_are_prepared_with_a_note(tmp_path, capsys):
  members = [("a.jpg", jpeg()), ("a.txt", b"a cat")]
  path = write_tar(tmp_path / "0.tar", members)
  main("--input", path, "--output", tmp_path / "out")
  assert read(tmp_path / "out")[0].caption == "a cat"
  assert "note: no record has a part" in capsys.readouterr().err


def die(job):
  os._exit(3)


def test_a_worker_that_dies_is_told_from_a_bad_input(tmp_path, monkeypatch):
  pattern = write_raw(tmp_path / "in")
  monkeypatch.setattr(run, "prepare_shard", die)
  with pytest.raises(SystemExit, match=r"a worker process died.* fewer --jobs"):
    main("--input", pattern, "--output", tmp_path / "out", jobs=2)


def test_a_full_disk_is_not_skipped_as_a_bad_input(tmp_path, monkeypatch):
  pattern = write_raw(tmp_path / "in")

  def full(path):
    raise OSError(28, "No space left on device", path)

  monkeypatch.setattr(shard.index, "load", full)
  flags = ("--input", pattern, "--output", tmp_path / "out")
  with pytest.raises(SystemExit, match="No space left"):
    main(*flags, "--on_bad_shard=skip")
  assert not issubclass(OSError, BadInputError)


@pytest.mark.parametrize(
  ("seconds", "want"),
  [(0.4, "0 s"), (59.0, "59 s"), (61.0, "1 min 01 s"), (7260.0, "2 h 01 min")],
)
def test_duration(seconds, want):
  assert run._duration(seconds) == want
