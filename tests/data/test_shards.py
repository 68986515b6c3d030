import gzip
import io
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import grain
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.shards import Member, TarSource, expand, index_tar
from tests.data import tars
from tests.data.tars import processed_members, raw_members, write_tar

FORMATS = (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def groups(shard):
  return {
    str(key): {s: m.read() for s, m in shard.members(i).items()}
    for i, key in enumerate(shard.keys)
  }


@pytest.mark.parametrize("tar_format", FORMATS)
def test_index_reads_what_tarfile_reads(tmp_path, tar_format):
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
  shard = index_tar(path)
  found = groups(shard)
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
def test_every_indexed_member_is_a_member_of_the_tar(
  tmp_path_factory, contents, tar_format
):
  path = tmp_path_factory.mktemp("tars") / "a.tar"
  shard = index_tar(write_tar(path, contents, tar_format))
  written = {}
  for name, data in contents:
    written.setdefault(name.rstrip("/"), []).append(data)
  for key, suffixes in groups(shard).items():
    for suffix, data in suffixes.items():
      assert data in written[f"{key}.{suffix}"]
  assert len(set(shard.keys.tolist())) == len(shard)


def test_key_ends_at_the_first_dot_of_the_base_name(tmp_path):
  names = ["d.x/k.child.JPG", "d.x/k.txt", "no_suffix", ".hidden", "k.txt"]
  shard = index_tar(write_tar(tmp_path / "a.tar", [(n, b"") for n in names]))
  found = {key: set(suffixes) for key, suffixes in groups(shard).items()}
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
  assert index_tar(str(path)).keys.tolist() == ["9"]


def test_names_that_climb_out_are_only_names(tmp_path):
  names = ["../../up", "/etc/root", "../up"]
  path = write_tar(
    tmp_path / "a.tar", [m for name in names for m in raw_members(name)]
  )
  source = TarSource([path])
  assert {source[i].key for i in range(3)} == set(names)
  assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]
  assert source[0].image.path == path


def test_first_group_of_a_repeated_key_is_kept_unmixed(tmp_path):
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
  assert groups(index_tar(path)) == {"a": {"json": b"1"}, "b": {"json": b"1"}}


@pytest.mark.parametrize(
  "data", [b"", b"no tar", b"\xff\xd8\xff" * 500, gzip.compress(b"x" * 2000)]
)
def test_no_tar_is_named_with_what_is_wanted(tmp_path, data):
  path = tmp_path / "a.tar"
  path.write_bytes(data)
  with pytest.raises(ValueError, match=r"a\.tar: not a tar .*want an uncomp"):
    index_tar(str(path))


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
    index_tar(str(path))


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
    index_tar(str(path))
  except ValueError as error:
    message = str(error)
  else:
    return
  assert "a.tar: " in message


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
  assert records[1].image.read() == tars.jpeg(1)
  assert records[4].parts[1].image.read() == tars.jpeg(2)
  assert "5 records in 3 tars" in repr(source)
  for index in (5, -1):
    with pytest.raises(IndexError):
      source[index]


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
    found = list(pool.map(lambda i: (source[i], source[i].image.read()), order))
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


def test_member_is_the_contract_of_both_modules():
  assert Member("p", 1, 2) == ("p", 1, 2)
