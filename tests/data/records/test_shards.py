import logging
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import grain
import pytest

from hyperclip_jax.data.records import index, indices, shards, storage
from hyperclip_jax.data.records.shards import TarSource, expand
from tests.data import tars
from tests.data.tars import (
  prepared_members,
  processed_members,
  raw_members,
  write_tar,
)


def test_source_numbers_records_over_shards_of_both_layouts(tmp_path):
  raw = [m for i in range(3) for m in raw_members(f"r{i}", i, id=i)]
  done = [m for i in range(2) for m in processed_members(f"p{i}")]
  empty = write_tar(tmp_path / "1.tar", [])
  source = TarSource(
    [
      write_tar(tmp_path / "0.tar", raw),
      empty,
      write_tar(tmp_path / "2.tar", done),
    ]
  )
  records = [source[i] for i in range(len(source))]
  assert [r.key for r in records] == ["r0", "r1", "r2", "p0", "p1"]
  assert [r.meta.get("id") for r in records] == [0, 1, 2, None, None]
  assert records[1].image == tars.jpeg(1)
  assert records[4].parts[1].crop == tars.jpeg(2)
  assert "5 records in 3 tars" in repr(source)
  for number in (5, -1):
    with pytest.raises(IndexError):
      source[number]


def test_incomplete_records_are_not_counted(tmp_path):
  members = raw_members("a") + raw_members("b") + raw_members("c")
  left = [m for m in members if m[0] not in ("a.jpg", "b.json")]
  source = TarSource([write_tar(tmp_path / "0.tar", left)])
  assert [source[i].key for i in range(len(source))] == ["c"]
  failed = write_tar(tmp_path / "1.tar", [("a.json", b"{}")])
  assert len(TarSource([failed, write_tar(tmp_path / "2.tar", left)])) == 1
  with pytest.raises(
    ValueError, match=r"no complete record in 1 tars \(.* with members json\)"
  ):
    TarSource([failed])


def test_what_is_left_out_of_tars_is_said_once(tmp_path, caplog):
  whole = write_tar(tmp_path / "0.tar", raw_members("a"))
  lacking = raw_members("a") + raw_members("b")[1:] + raw_members("a", 1)
  paths = [write_tar(tmp_path / f"{i}.tar", lacking) for i in (1, 2)]
  with caplog.at_level(logging.WARNING):
    assert len(TarSource([whole, *paths])) == 3
    assert len(TarSource([whole])) == 1
  (said,) = caplog.messages
  assert said.startswith("2 records of 3 tars are left out")
  assert "and 2 because their key occurs before" in said
  assert said.endswith(paths[0])


def test_members_of_unknown_kinds_are_named_and_escaped(tmp_path):
  picture = [("a.gif", b""), ("a.json", b"{}")]
  with pytest.raises(ValueError, match=r"with members gif, json\)"):
    TarSource([write_tar(tmp_path / "0.tar", picture)])
  odd = [("a.\x1b[2J" + "x" * 300, b"")]
  with pytest.raises(ValueError, match="unknown layout") as caught:
    TarSource([write_tar(tmp_path / "1.tar", odd)])
  assert str(caught.value).isprintable()
  assert "x" * 50 not in str(caught.value)


def test_unknown_layout_lists_suffixes_and_layouts(tmp_path):
  path = write_tar(tmp_path / "0.tar", [("a.npy", b""), ("a.cls", b"")])
  with pytest.raises(ValueError, match=r"cls, npy; want raw GRIT .*HyCoCLIP"):
    TarSource([path])


def test_min_side_reaches_the_parser(tmp_path):
  path = write_tar(tmp_path / "0.tar", raw_members("a"))
  assert len(TarSource([path], min_side=24)[0].parts) == 3
  assert TarSource([path], min_side=49)[0].parts == ()


def test_source_serves_threads_pickle_and_grain(tmp_path):
  members = [m for i in range(20) for m in raw_members(f"{i:03d}", i)]
  source = TarSource([write_tar(tmp_path / "0.tar", members)])
  want = [source[i] for i in range(20)]
  with ThreadPoolExecutor(8) as pool:
    order = list(range(20)) * 10
    found = list(pool.map(lambda i: (source[i], source[i].image), order))
  assert [record for record, _ in found] == want * 10
  assert [data for _, data in found[:20]] == [tars.jpeg(i) for i in range(20)]
  assert pickle.loads(pickle.dumps(source))[7] == want[7]
  dataset = grain.MapDataset.source(source).shuffle(seed=0)
  assert sorted(r.key for r in dataset) == sorted(r.key for r in want)


def test_expand_sorts_and_names_what_is_missing(tmp_path):
  for name in ("b.tar", "a.tar", "x[1].tar"):
    (tmp_path / name).touch()
  everything = expand(f"{tmp_path}/*.tar")
  assert [p.rsplit("/", 1)[1] for p in everything] == [
    "a.tar", "b.tar", "x[1].tar"
  ]  # fmt: skip
  assert expand([f"{tmp_path}/b.tar", f"{tmp_path}/*.tar"]) == everything
  assert expand(f"{tmp_path}/x[1].tar") == [f"{tmp_path}/x[1].tar"]
  with pytest.raises(FileNotFoundError, match=r"no\*\.tar'; want a tar or a"):
    expand([f"{tmp_path}/a.tar", f"{tmp_path}/no*.tar"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Files whose names only look like patterns, among plain ones."""
  folder = tmp_path_factory.mktemp("shards")
  (folder / "in").mkdir()
  (folder / "with, comma {x,y}").mkdir()
  for name in (
    *(f"{i:03d}.tar" for i in (8, 9, 10, 11)),
    "a.tar", "b.tar", "{a,b}.tar", "{0..1}.tar", " blank .tar", "a{z}.tar",
    "in/0.tar", "in/1.tar", "in/1.tar.index", "with, comma {x,y}/0.tar",
  ):  # fmt: skip
    (folder / name).touch()
  return folder


@pytest.mark.parametrize(
  ("pattern", "names"),
  [
    ("{008..011}.tar", ["008.tar", "009.tar", "010.tar", "011.tar"]),
    ("{11..8}.tar", None),  # no zeros were asked for
    ("{011..008..2}.tar", ["009.tar", "011.tar"]),
    ("0{08,1{0,1}}.tar", ["008.tar", "010.tar", "011.tar"]),
    ("{in,.}/{0..1}.tar", None),  # ./0.tar is missing
    ("i{n,n}/{0..1}.tar", ["in/0.tar", "in/1.tar"]),
    ("{a,b}.tar", ["{a,b}.tar"]),  # such a file is there
    ("{0..1}.tar", ["{0..1}.tar"]),
    ("{a,b}.ta*", ["{a,b}.tar"]),
    ("{b,a}.t?r ", ["a.tar", "b.tar"]),
    ("a{z}.tar", ["a{z}.tar"]),
    ("a{y}.tar", None),
    (" blank .tar", [" blank .tar"]),
    ("in", ["in/0.tar", "in/1.tar"]),
    ("in/", ["in/0.tar", "in/1.tar"]),
    ("i*", ["in/0.tar", "in/1.tar"]),
    ("with, comma {x,y}", ["with, comma {x,y}/0.tar"]),
    ("with, comma {x,y}/*.tar", ["with, comma {x,y}/0.tar"]),
  ],
)
def test_patterns_are_those_of_shells_and_webdataset(folder, pattern, names):
  whole = f"{folder}/{pattern}"
  if names is None:
    with pytest.raises(FileNotFoundError, match=r"no file matches .*braces"):
      expand(whole)
  else:
    for blanks in ("", "  "):
      found = [os.path.relpath(p, folder) for p in expand(blanks + whole)]
      assert found == names


def test_braces_without_end_are_refused(folder):
  for braces in ("{0..99999999999}", "{0..9999}{0..9999}"):
    with pytest.raises(ValueError, match="more than 1,000,000 names"):
      expand(f"{folder}/{braces}.tar")


def test_home_is_expanded(folder, monkeypatch):
  monkeypatch.setenv("HOME", str(folder))
  assert expand("~/{a,b}.t*")[0] == f"{folder}/{{a,b}}.tar"
  assert expand([" ~/in"]) == [f"{folder}/in/0.tar", f"{folder}/in/1.tar"]


def test_commas_join_patterns_but_in_braces_and_names(folder):
  whole = f"{folder}/with, comma {{x,y}}/*.tar"
  assert shards.split(whole) == [whole]
  assert shards.split("a/{b,c}.tar, d/*.tar,") == ["a/{b,c}.tar", " d/*.tar"]
  assert shards.split("a},{b") == ["a}", "{b"]
  assert shards.split("") == []


@pytest.mark.parametrize(
  "kind", ["truncated", "garbage", "no tar", "missing", "gone", "a pipe"]
)
def test_a_bad_shard_fails_or_is_left_out_whole(tmp_path, kind, caplog):
  paths = [
    write_tar(
      tmp_path / f"{name}.tar",
      [m for i in range(4) for m in raw_members(f"{name}{i}", i)],
    )
    for name in "abc"
  ]
  bad = tmp_path / "b.tar"
  whole = bad.read_bytes()
  middle = len(whole) // 2 // 512 * 512
  bad.write_bytes(
    {
      "truncated": whole[:middle],
      "garbage": whole[:512] + bytes(range(256)) * 8 + whole[2560:],
      "no tar": b"<html>404</html>" * 100,
    }.get(kind, whole)
  )
  if kind == "gone":  # though its index is there
    TarSource([str(bad)])
  if kind in ("missing", "gone", "a pipe"):
    bad.unlink()
  if kind == "a pipe":
    os.mkfifo(bad)
  with pytest.raises((ValueError, OSError), match=r"b\.tar"):
    TarSource(paths)
  source = TarSource(paths, skip_bad=True)
  keys = [source[i].key for i in range(len(source))]
  assert keys == [f"{name}{i}" for name in "ac" for i in range(4)]
  assert list(source.skipped) == [str(bad)]
  assert f"left out: {source.skipped[str(bad)]}" in caplog.text
  assert source.name(4) == f"{paths[2]}: record 'c0'"


def test_many_tars_are_indexed_by_several_processes(tmp_path, monkeypatch):
  monkeypatch.setattr(indices, "MANY", 3)
  paths = [
    write_tar(tmp_path / f"{i}.tar", raw_members(f"{i}", i)) for i in range(4)
  ]
  (tmp_path / "1.tar").write_bytes(b"no tar")
  source = TarSource(paths, skip_bad=True)
  assert [source[i].key for i in range(3)] == ["0", "2", "3"]
  assert len(list(tmp_path.glob("*.index"))) == 3


@pytest.mark.parametrize("crops", [False, True])
def test_prepared_records(tmp_path, crops):
  members = prepared_members("000", parts=("a ball", "red"), crops=crops)
  record = TarSource([write_tar(tmp_path / "0.tar", members)])[0]
  assert (record.key, record.caption) == ("source/000", "a red ball")
  assert [part.text for part in record.parts] == ["a ball", "red"]
  assert record.meta == {"url": "http://example.com/1.jpg"}
  if crops:
    assert record.parts[1].crop == tars.jpeg(2)
    assert record.parts[1].box == (0.0, 0.0, 1.0, 1.0)
  else:
    assert record.parts[1].crop is None
    assert record.parts[1].box == (0.25, 0.0, 0.75, 1.0)


def limited(code, files, *args):
  """What a process says that may hold so many files open."""
  limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
  done = subprocess.run(
    [sys.executable, "-c", f"import resource, sys\n{limit}\n{code}", *args],
    capture_output=True,
    text=True,
    timeout=100,
  )
  return done.stdout + done.stderr


HANDLES = """
import os
from hyperclip_jax.data.feed.faults import Faults
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.data.records import storage
before = len(os.listdir('/proc/self/fd'))
source = TarSource(expand(sys.argv[1]))
print(len(source), 'records', len(os.listdir('/proc/self/fd')) - before)
storage.WAITS = ()
held = []
try:
  while True: held.append(os.open('/dev/null', os.O_RDONLY))
except OSError: pass
for act in (lambda: Faults(1.0).add(0, '', error), lambda: TarSource(
    expand(sys.argv[1])[:1], skip_bad=True)):
  try: source[0]
  except OSError as found: error = found
  try: print('taken for bad', act())
  except OSError as found: print(found)
"""


def test_handles_do_not_grow_with_shards(tmp_path):
  for i in range(60):
    write_tar(tmp_path / f"{i:02d}.tar", raw_members(f"{i}"))
  said = limited(HANDLES, 48, str(tmp_path))
  assert "60 records 0" in said
  assert said.count("Too many open files; the limit of `ulimit -n` is 48") == 2
  assert "taken for bad" not in said


def test_a_start_reads_one_stretch_of_each_indexed_shard(tmp_path, monkeypatch):
  paths = [
    write_tar(tmp_path / f"{i:02d}.tar", raw_members(f"{i}")) for i in range(9)
  ]
  TarSource(paths)
  reads = []
  read = storage._read
  monkeypatch.setattr(
    storage, "_read", lambda *args: reads.append(args[0]) or read(*args)
  )
  TarSource(paths)
  assert sorted(reads) == paths


def test_many_tars_of_a_folder_that_cannot_be_written(
  tmp_path, monkeypatch, caplog
):
  """Each is walked once, by the processes, and one warning is given."""
  monkeypatch.setattr(indices, "MANY", 3)
  paths = [
    write_tar(tmp_path / f"{i}.tar", raw_members(f"{i}", i)) for i in range(4)
  ]
  walked = []
  monkeypatch.setattr(index, "build", lambda path: walked.append(path))
  with caplog.at_level(logging.WARNING):
    source = TarSource(paths, index_folder=f"{paths[0]}/no_folder")
  assert [source[i].key for i in range(4)] == ["0", "1", "2", "3"]
  assert not walked
  assert caplog.text.count("cannot save the index") == 1
  assert "and 3 more tars" in caplog.text
