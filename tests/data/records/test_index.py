import contextlib
import dataclasses
import gzip
import io
import logging
import os
import pathlib
import re
import tarfile
import time
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.records import index, offsets, tars
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.shards import TarSource
from tests.data.tars import (
  prepared_members,
  processed_members,
  raw_members,
  write_tar,
)

FORMATS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
SUFFIXES = ("jpg", "json", "txt")


def groups(path):
  """The first group of each key, read."""
  found = {}
  for key, members in tars.groups(path):
    found.setdefault(key, {s: m.read() for s, m in members.items()})
  return found


@pytest.mark.parametrize("tar_format", FORMATS)
def test_groups_are_what_tarfile_reads(tmp_path, tar_format):
  long = "very/" * 40 + "long" * 40  # needs GNU long names or pax headers
  names = [
    "a.jpg",
    "a.json",
    f"{long}.jpg",
    f"{long}.txt",
    "zażółć.jpg",
    "b.txt",
  ]
  path = write_tar(
    tmp_path / "a.tar",
    [(name, name.encode() * 100) for name in names],
    tar_format,
  )
  found = groups(path)
  assert list(found) == ["a", long, "zażółć", "b"]
  with tarfile.open(path) as tar:
    for name in names:
      key, suffix = name.rsplit(".", 1)
      file = tar.extractfile(name)
      assert file is not None
      assert found[key][suffix] == file.read()


@settings(max_examples=40, deadline=None)
@given(
  st.lists(
    st.tuples(
      st.text("ab./", min_size=1, max_size=120), st.binary(max_size=1500)
    ),
    max_size=8,
  ),
  st.sampled_from(FORMATS),
)
def test_every_grouped_member_is_a_member_of_the_tar(
  tmp_path_factory, contents, tar_format
):
  path = tmp_path_factory.mktemp("tars") / "a.tar"
  write_tar(path, contents, tar_format)
  written = {}
  for name, data in contents:
    written.setdefault(name.rstrip("/"), []).append(data)
  for key, members in tars.groups(str(path)):
    for suffix, member in members.items():
      assert member.read() in written[f"{key}.{suffix}"]


def test_key_ends_at_the_first_dot_of_the_base_name(tmp_path):
  names = ["d.x/k.child.JPG", "d.x/k.txt", "no_suffix", ".hidden", "k.txt"]
  path = write_tar(tmp_path / "a.tar", [(n, b"") for n in names])
  found = {key: set(suffixes) for key, suffixes in groups(path).items()}
  assert found == {"d.x/k": {"child.jpg", "txt"}, "k": {"txt"}}


def test_members_that_are_not_files_are_skipped(tmp_path):
  path = tmp_path / "a.tar"
  kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE)
  with tarfile.open(path, "w") as tar:
    for i, kind in enumerate((*kinds, tarfile.FIFOTYPE)):
      info = tarfile.TarInfo(f"{i}.jpg")
      info.type, info.linkname = kind, "/etc/passwd"
      tar.addfile(info)
    tar.addfile(tarfile.TarInfo("9.txt"), io.BytesIO())
  assert list(groups(str(path))) == ["9"]


def test_names_that_climb_out_are_only_names(tmp_path):
  names = ["../../up", "/etc/root", "../up"]
  path = write_tar(
    tmp_path / "a.tar", [m for name in names for m in raw_members(name)]
  )
  source = TarSource([path])
  assert {source[i].key for i in range(3)} == set(names)
  left = sorted(p.name for p in tmp_path.iterdir())
  assert left == ["a.tar", "a.tar.index"]


def test_groups_of_a_repeated_key_are_not_mixed(tmp_path):
  path = write_tar(
    tmp_path / "a.tar",
    [
      ("a.json", b"1"),  # ends where its suffix comes again
      ("a.json", b"2"),
      ("a.jpg", b"2"),
      ("b.json", b"1"),
      ("a.jpg", b"3"),  # not contiguous
      ("b.jpg", b"2"),
    ],
  )
  assert groups(path) == {
    "a": {"json": b"1"},
    "b": {"json": b"1", "jpg": b"2"},
  }
  built = index.build(path)
  assert (len(built), built.incomplete, built.repeated) == (2, 0, 2)
  assert built.read(0) == ("a", {"json": b"2", "jpg": b"2"})
  assert built.read(1) == ("b", {"json": b"1", "jpg": b"2"})


@pytest.mark.parametrize(
  "data",
  [b"", b"no tar", b"\xff\xd8\xff" * 500, gzip.compress(b"x" * 2000, mtime=0)],
)
def test_no_tar_is_named_with_what_is_wanted(tmp_path, data):
  path = tmp_path / "a.tar"
  path.write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.tar: not a tar .*want an uncomp"):
    index.build(str(path))


@pytest.mark.parametrize("cut", ["data", "header", "boundary", "garbled"])
def test_a_damaged_tar_is_never_taken_for_a_short_one(tmp_path, cut):
  path = tmp_path / "a.tar"
  write_tar(path, [("a.jpg", b"x" * 700), ("b.jpg", b"y" * 700)])
  whole = path.read_bytes()  # each member takes 512 + 1024 bytes
  garbled = whole[:1536] + b"#" * 512 + whole[2048:]
  path.write_bytes(
    {
      "data": whole[:2400],
      "header": whole[:1700],
      "boundary": whole[:1536],
      "garbled": garbled,
    }[cut]
  )
  with pytest.raises(ValueError, match=r"a\.tar: damaged or .* offset \d+ of"):
    index.build(str(path))


def joined(path, *parts):
  path.write_bytes(b"".join(parts))
  return str(path)


@pytest.fixture
def parts(tmp_path):
  """The bytes of tars of one record each: "a", "b" and none."""
  found = []
  for key in ("a", "b", ""):
    members = [(f"{key}.jpg", b"x" * 700), (f"{key}.json", key.encode())]
    path = write_tar(tmp_path / "part.tar", members if key else [])
    found.append(pathlib.Path(path).read_bytes())
  return found


def test_tars_one_after_the_other_are_read_as_one(tmp_path, parts):
  a, b, empty = parts
  for order in ((a, b), (empty, a, b), (a, empty, b, empty), (a + bytes(999),)):
    path = joined(tmp_path / "all.tar", *order)
    built = index.build(path)
    keys = [built.key(i) for i in range(len(built))]
    assert keys == ["a", "b"][: len(keys)]
    assert len(keys) == 1 + (b in order)
    assert [
      built.read(i)[1]["json"].decode() for i in range(len(built))
    ] == keys
  short = a[:2048] + b"a".ljust(512, b"\0") + bytes(1024)  # the least padding
  assert a.startswith(short)
  assert len(index.build(joined(tmp_path / "short.tar", short, b))) == 2


@pytest.mark.parametrize(
  "more",
  [
    b"garbage" * 200,
    b"x",
    gzip.compress(b"x" * 2000, mtime=0),
    b"\0" * 100 + b"x" * 600,
  ],
)
def test_bytes_after_the_end_that_are_no_tar_are_an_error(
  tmp_path, parts, more
):
  path = joined(tmp_path / "all.tar", parts[0], more)
  offset = len(parts[0])
  with pytest.raises(
    ValueError, match=rf"near offset {offset} .*are not a tar"
  ):
    index.build(path)


def test_a_header_that_became_zeros_does_not_hide_what_follows(tmp_path, parts):
  whole = parts[0]
  lost = whole[:1536] + bytes(512) + whole[2048:]  # of a.json
  with pytest.raises(ValueError, match="a single block of zeros"):
    index.build(joined(tmp_path / "all.tar", lost))


@settings(max_examples=50, deadline=None)
@given(order=st.permutations(range(9)), again=st.integers(0, 9))
def test_members_in_any_order_are_joined(tmp_path_factory, order, again):
  """Three records, and then some of their members once more."""
  folder = tmp_path_factory.mktemp("tars")
  names = [f"{key}.{suffix}" for key in "abc" for suffix in SUFFIXES]
  rows = [(names[i], names[i].encode()) for i in order]
  path = write_tar(folder / "a.tar", rows + rows[:again])
  built = index.build(path)
  found = dict(built.read(i) for i in range(len(built)))
  wanted = {k: {s: f"{k}.{s}".encode() for s in ("jpg", "json")} for k in "abc"}
  assert found.items() <= wanted.items()  # no two copies are mixed
  assert len(found) + built.incomplete == 3
  assert bool(built.repeated) == bool(again)
  if not again:
    assert list(found) == list(dict.fromkeys(name[0] for name, _ in rows))


def test_a_failed_download_is_not_joined_with_its_namesake(tmp_path):
  """As img2dataset leaves it, in two shards whose keys begin anew."""
  rows = [("0.json", b"first"), ("1.jpg", b"1"), ("1.json", b"1")]
  rows += [("0.jpg", b"second"), ("0.json", b"second")]
  built = index.build(write_tar(tmp_path / "a.tar", rows))
  found = [built.read(i)[1]["json"] for i in range(len(built))]
  assert found == [b"1", b"second"]
  assert (built.incomplete, built.repeated) == (0, 1)


def test_members_far_apart_are_read_one_by_one(tmp_path, monkeypatch):
  far = ("x.bin", bytes(3 * offsets.GAP))
  a, b = processed_members("a"), processed_members("b", parents=("c",))
  rows = [*a[:3], far, *b[:2], *a[3:5], far, *b[2:], *a[5:]]
  built = index.build(write_tar(tmp_path / "a.tar", rows))
  together = index.build(write_tar(tmp_path / "b.tar", a + b))
  # Without the gaps.
  monkeypatch.setattr(offsets, "MAX_RECORD", 2 * offsets.GAP)
  assert [built.read(i) for i in (0, 1)] == [together.read(i) for i in (0, 1)]


@settings(max_examples=200, deadline=None)
@given(
  st.sampled_from(FORMATS),
  st.lists(st.tuples(st.integers(0, 3071), st.integers(0, 255)), max_size=3),
)
@example(tarfile.GNU_FORMAT, [(156, ord("L")), (124, 255)])
def test_garbled_headers_give_an_index_or_a_value_error(
  tmp_path_factory, tar_format, changes
):
  path = tmp_path_factory.mktemp("tars") / "a.tar"
  long = "d/" * 80 + "x" * 90
  write_tar(path, [("a.jpg", b"x"), (f"{long}.jpg", b"y")], tar_format)
  data = bytearray(path.read_bytes())
  for position, value in changes:
    data[position] = value
  for start in (0, 1024):  # mend the checksums, so that the damage is believed
    total = sum(data[start : start + 512]) + 8 * 32
    total -= sum(data[start + 148 : start + 156])
    data[start + 148 : start + 156] = b"%06o\0 " % total
  path.write_bytes(data)
  try:
    index.build(str(path))
  except ValueError as error:
    message = str(error)
  else:
    return
  assert "a.tar: " in message


def arrays(built):
  return [built.starts, built.blocks, built.sizes]


@pytest.mark.parametrize(
  "members",
  [
    [m for i in range(5) for m in raw_members(f"{i:05d}", i)],
    [m for i in range(3) for m in processed_members(f"{i:05d}")],
    [m for i in range(3) for m in prepared_members(f"{i:05d}", crops=i % 2)],
    [],
  ],
  ids=["raw", "processed", "prepared", "empty"],
)
def test_index_from_its_file_is_the_index_of_the_walk(tmp_path, members):
  path = write_tar(tmp_path / "a.tar", members)
  assert index.cached(path) is None
  built, loaded = index.load(path), index.cached(path)
  assert loaded is not None
  assert loaded.layout == built.layout
  for left, right in zip(arrays(loaded), arrays(built), strict=True):
    np.testing.assert_array_equal(left, right)
  walked = list(tars.groups(path))
  assert [loaded.key(i) for i in range(len(loaded))] == [k for k, _ in walked]
  for i, (_, want) in enumerate(walked):
    found = loaded.members(i)
    assert found.items() <= want.items()  # raw: less the .txt
    contents = {suffix: member.read() for suffix, member in found.items()}
    assert loaded.read(i) == (loaded.key(i), contents)
    assert len(found) == len(loaded.layout.pick(want))


def test_a_missing_text_of_a_parent_stays_missing(tmp_path):
  members = processed_members("a", parents=("x", "y"))
  left = [m for m in members if m[0] != "a.parent000.txt"]
  built = index.build(write_tar(tmp_path / "a.tar", left))
  found = built.members(0)
  assert "parent000.txt" not in found
  assert found["parent001.txt"].read() == b"y"


def test_a_changed_tar_is_walked_again(tmp_path):
  path = write_tar(tmp_path / "a.tar", raw_members("a"))
  assert len(index.load(path)) == 1
  write_tar(tmp_path / "a.tar", raw_members("a") + raw_members("b"))
  assert index.cached(path) is None
  assert len(index.load(path)) == 2
  old = index.load(path)
  size = os.path.getsize(path)
  write_tar(tmp_path / "a.tar", raw_members("c") + raw_members("d"))
  assert os.path.getsize(path) == size
  assert index.load(path).key(0) == "c"
  with open(path, "r+b") as file:
    file.write(b"\xff" * 512)
  with pytest.raises(OSError, match=r"no tar header .*has changed since"):
    old.key(0)


LAYOUTS_OF_MEMBERS = {
  "raw": [m for i in range(4) for m in raw_members(f"{i}", i)],
  "processed": [m for i in range(3) for m in processed_members(f"{i}")],
  "prepared": prepared_members("0", crops=True) + prepared_members("1"),
}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
  """Of each layout, a tar, its index, and the words of its index file."""
  found = {}
  for name, members in LAYOUTS_OF_MEMBERS.items():
    path = write_tar(tmp_path_factory.mktemp(name) / "a.tar", members)
    found[name] = path, index.load(path), np.fromfile(f"{path}.index", "<u4")
  return found


def assert_made_again(case, words, checksum):
  """A file of other words is no index, and the tar is walked again."""
  path, want, _ = case
  words = np.asarray(words, "<u4")
  if checksum and len(words):
    # As somebody writes it who means it.
    words[-1] = zlib.crc32(words[:-1].tobytes())
  words.tofile(f"{path}.index")
  found = index.load(path)
  for left, right in zip(arrays(found), arrays(want), strict=True):
    np.testing.assert_array_equal(left, right)
  assert (found.incomplete, found.repeated) == (want.incomplete, want.repeated)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_garbled_index_is_made_again(indexed, data):
  case = indexed[data.draw(st.sampled_from(sorted(indexed)))]
  words = case[2].copy()
  word = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40))
  for place, value in data.draw(
    st.lists(st.tuples(st.integers(0, len(words) - 1), word), max_size=4)
  ):
    words[place] = value
  end = data.draw(st.integers(0, len(words)))
  assert_made_again(case, words[:end], checksum=False)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_an_index_that_lies_reaches_nothing_outside_of_its_tar(indexed, data):
  """With a right checksum: what is taken can be read, within the tar."""
  path, _, words = indexed[data.draw(st.sampled_from(sorted(indexed)))]
  words = words.copy()
  word = st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40))
  for place, value in data.draw(
    st.lists(st.tuples(st.integers(5, len(words) - 2), word), max_size=4)
  ):
    words[place] = value
  words[-1] = zlib.crc32(words[:-1].tobytes())
  words.tofile(f"{path}.index")
  found = index.load(path)
  for record in range(len(found)):
    assert found.members(record)
    with contextlib.suppress(OSError):  # what is there is no header
      _, contents = found.read(record)
      assert contents.keys() == found.members(record).keys()


@pytest.mark.parametrize("layout", sorted(LAYOUTS_OF_MEMBERS))
@pytest.mark.parametrize(
  "damage",
  ["a block past the end", "no block", "starts go down", "a start too far"],
)
def test_a_lie_in_an_index_is_seen(indexed, layout, damage):
  case = indexed[layout]
  words, want = case[2].copy(), case[1]
  starts, blocks = 9, 9 + len(want) + 1
  if damage == "a block past the end":
    words[blocks] = 2**31
  elif damage == "no block":
    words[blocks : blocks + len(want.blocks)] = 0
  elif damage == "starts go down":
    words[starts : starts + 2] = words[starts : starts + 2][::-1].copy()
  else:
    words[starts + 1] = 2**32 - 1
  for checksum in (False, True):
    assert_made_again(case, words.copy(), checksum)


def test_an_index_that_is_no_file_of_words_is_made_again(tmp_path):
  path = write_tar(tmp_path / "a.tar", raw_members("a"))
  want = index.build(path)
  file = tmp_path / "a.tar.index"
  with file.open("wb") as out:
    out.truncate(2**40)  # a sparse file that memory could not take
  assert index.cached(path) is None
  file.unlink()
  os.mkfifo(file)  # which would wait for a writer
  assert index.cached(path) is None
  np.testing.assert_array_equal(index.load(path).blocks, want.blocks)


def test_index_files_have_the_mode_that_the_umask_gives(tmp_path):
  path = write_tar(tmp_path / "a.tar", raw_members("a"))
  old = os.umask(0o027)
  try:
    index.load(path)
  finally:
    os.umask(old)
  assert (tmp_path / "a.tar.index").stat().st_mode & 0o777 == 0o640
  assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "a.tar.index"]


def test_index_goes_to_another_folder_or_stays_in_memory(tmp_path, caplog):
  for name in "xy":
    (tmp_path / name).mkdir()
  paths = [
    write_tar(tmp_path / name / "0.tar", raw_members(name)) for name in "xy"
  ]
  for path in paths:
    index.load(path, str(tmp_path / "kept"))
  assert len(list((tmp_path / "kept").iterdir())) == 2
  assert not list(tmp_path.glob("*/0.tar.index"))
  with caplog.at_level(logging.WARNING):
    built = index.load(paths[0], f"{paths[1]}/no_folder")
  assert len(built) == 1
  assert "cannot save the index" in caplog.text


def test_a_cut_file_is_an_io_error_with_path_and_offset(tmp_path):
  path = tmp_path / "a.tar"
  path.write_bytes(b"12345")
  with pytest.raises(OSError, match=r"a\.tar: found 2 of 9 bytes at offset 3"):
    tars.Member(str(path), 3, 9).read()


def test_a_record_of_any_size_is_not_read(tmp_path, monkeypatch):
  path = write_tar(tmp_path / "a.tar", raw_members("a"))
  built = index.build(path)
  monkeypatch.setattr(offsets, "MAX_RECORD", 1000)
  with pytest.raises(RecordError, match=r"a\.tar: record 0 .*the most is 1000"):
    built.read(0)


@pytest.mark.slow
def test_twenty_million_records_open_in_seconds(tmp_path):
  """Synthetic indices beside sparse tars: 200 of 100,000 records each."""
  count, member = 100_000, 8  # blocks of a header and its data
  path = write_tar(tmp_path / "first.tar", raw_members("a"))
  built = index.build(path)
  blocks = np.arange(2 * count, dtype=np.uint32) * member + 1
  header = tarfile.TarInfo("k.jpg").tobuf()
  big = offsets.Index(
    "",
    built.layout,
    np.arange(0, 2 * count + 1, 2, dtype=np.uint32),
    blocks,
    np.full(2 * count, 3000, np.uint32),
    incomplete=0,
    repeated=0,
    size=2 * count * member * tars.BLOCK,
    tail=0,
  )
  paths = []
  for i in range(200):
    paths.append(f"{tmp_path}/{i:05d}.tar")
    with open(paths[-1], "wb") as file:
      for block in blocks[[0, -1]]:
        file.seek((int(block) - 1) * tars.BLOCK)
        file.write(header)
      file.truncate(2 * count * member * tars.BLOCK)
    with open(paths[-1], "rb") as file:
      file.seek(-offsets.TAIL, os.SEEK_END)
      tail = zlib.crc32(file.read())
    known = dataclasses.replace(big, path=paths[-1], tail=tail)
    index.save(known, paths[-1] + ".index")
  before = _anonymous_mib()
  start = time.perf_counter()
  source = TarSource(paths)
  seconds = time.perf_counter() - start
  assert len(source) == 20_000_000
  assert seconds < 5
  assert _anonymous_mib() - before < 450  # 20 bytes a record, and no handle
  assert sum(os.path.getsize(f"{path}.index") for path in paths) < 1e9


def _anonymous_mib():
  """Memory of this process that no file backs."""
  status = pathlib.Path("/proc/self/status").read_text()
  return int(re.search(r"RssAnon:\s+(\d+) kB", status)[1]) / 1024
