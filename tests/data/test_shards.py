import pickle
from concurrent.futures import ThreadPoolExecutor

import grain
import pytest

from hyperclip_jax.data import shards
from hyperclip_jax.data.shards import TarSource, expand
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
  assert records[4].parts[1].image == tars.jpeg(2)
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
  with pytest.raises(ValueError, match="no complete record in 1 tars"):
    TarSource([failed])


def test_unknown_layout_lists_suffixes_and_layouts(tmp_path):
  path = write_tar(tmp_path / "0.tar", [("a.npy", b""), ("a.cls", b"")])
  with pytest.raises(ValueError, match=r"cls, npy; want raw GRIT .*HyCoCLIP"):
    TarSource([path])


def test_min_side_reaches_the_parser(tmp_path):
  path = write_tar(tmp_path / "0.tar", raw_members("a"))
  assert len(TarSource([path])[0].parts) == 3
  assert TarSource([path], min_side=400)[0].parts == ()


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


@pytest.mark.parametrize("kind", ["truncated", "garbage", "no tar", "missing"])
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
      "missing": b"",
    }[kind]
  )
  if kind == "missing":
    bad.unlink()
  with pytest.raises((ValueError, OSError), match=r"b\.tar"):
    TarSource(paths)
  source = TarSource(paths, skip_bad=True)
  keys = [source[i].key for i in range(len(source))]
  assert keys == [f"{name}{i}" for name in "ac" for i in range(4)]
  assert list(source.skipped) == [str(bad)]
  assert f"left out: {source.skipped[str(bad)]}" in caplog.text
  assert source.name(4) == f"{paths[2]}: record 'c0'"


def test_many_tars_are_indexed_by_several_processes(tmp_path, monkeypatch):
  monkeypatch.setattr(shards, "MANY", 3)
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
    assert record.parts[1].image == tars.jpeg(2)
    assert record.parts[1].box == (0.0, 0.0, 1.0, 1.0)
  else:
    assert record.parts[1].image == record.image
    assert record.parts[1].box == (0.25, 0.0, 0.75, 1.0)
