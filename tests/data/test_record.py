import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.record import Member, RecordError, parse_processed
from hyperclip_jax.data.record import parse_raw as parse
from tests.data import tars

FIELDS = ("caption", "noun_chunks", "ref_exps", "width", "height")
GOOD = [0.1, 0.1, 0.9, 0.9, 0.5]


def members(tmp_path, **contents):
  """Members of these contents, one after the other in a file."""
  path = tmp_path / "shard.bin"
  path.write_bytes(b"".join(contents.values()))
  found, offset = {}, 0
  for name, data in contents.items():
    found[name.replace("_", ".")] = Member(str(path), offset, len(data))
    offset += len(data)
  return found


def raw(tmp_path, data=None, min_side=32, **fields):
  data = json.dumps(tars.grit_meta(**fields)).encode() if data is None else data
  return parse("k1", members(tmp_path, jpg=b"IMAGE", json=data), min_side)


def processed(tmp_path, **changes):
  contents = {
    "child_jpg": b"CHILD",
    "child_txt": b"a red ball",
    "numparents_txt": b"2",
    "parent000_jpg": b"P0",
    "parent000_txt": b"a ball",
    "parent001_jpg": b"P1",
    "parent001_txt": b"red",
  } | changes
  contents = {name: data for name, data in contents.items() if data is not None}
  return parse_processed("k1", members(tmp_path, **contents), 32)


def test_raw_record(tmp_path):
  record = raw(tmp_path)
  assert record.key == "k1"
  assert record.caption == "a red ball on a wooden table"
  assert record.image.read() == b"IMAGE"
  assert [part.text for part in record.parts] == [
    "a red ball",
    "a wooden table",
    "a red ball on a wooden table",
  ]
  assert record.parts[1].box == (0.1, 0.2, 1.0, 1.0)
  assert all(part.image == record.image for part in record.parts)
  assert record.meta["clip_similarity_vitb32"] == 0.3


def test_first_good_box_of_a_phrase_wins(tmp_path):
  tiny = [0, 10, 0, 0, 0.01, 0.01, 0.9]
  rows = [tiny, [0, 10, *GOOD], [0, 10, 0, 0, 1, 1, 0.9]]
  record = raw(tmp_path, noun_chunks=rows, ref_exps=[[0, 11, 0, 0, 1, 1, 1]])
  assert [(part.text, part.box) for part in record.parts] == [
    ("a red ball", (0.1, 0.1, 0.9, 0.9))
  ]


def test_min_side_is_in_pixels_of_the_json(tmp_path):
  row = [[0, 10, 0, 0, 0.06, 0.06, 0.9]]
  assert raw(tmp_path, noun_chunks=row, ref_exps=[]).parts == ()
  assert raw(
    tmp_path, noun_chunks=row, ref_exps=[], width=640, height=640
  ).parts
  assert raw(tmp_path, noun_chunks=row, ref_exps=[], min_side=16).parts


@pytest.mark.parametrize(
  ("start", "end"),
  [(5, 5), (10, 0), (-3, 2), (0, 99), (1, 2), (float("nan"), 3), (0, 1e400)],
)
def test_offsets_without_a_phrase_are_dropped(tmp_path, start, end):
  record = raw(tmp_path, noun_chunks=[[start, end, *GOOD]], ref_exps=[])
  assert record.parts == ()


def test_offsets_count_characters_not_bytes(tmp_path):
  record = raw(
    tmp_path, caption="żółty kot 🐈 i pies", noun_chunks=[[10, 18, *GOOD]]
  )
  assert record.parts[0].text == "🐈 i pies"


def test_plain_captioned_image_has_no_parts(tmp_path):
  data = json.dumps({"caption": "a cat", "noun_chunks": None}).encode()
  assert raw(tmp_path, data).parts == ()


@pytest.mark.parametrize(
  ("fields", "named"),
  [
    ({"caption": None}, "caption: found None"),
    ({"caption": "  "}, "caption: found"),
    ({"caption": "half \ud83d"}, "caption: found a lone surrogate"),
    ({"noun_chunks": {"a": 1}}, "noun_chunks: found {'a': 1}"),
    ({"noun_chunks": [[0, 1, 2]]}, "noun_chunks: found [0, 1, 2], want [start"),
    ({"ref_exps": [[0, 1, "0", 0, 1, 1, 1]]}, "ref_exps: found '0'"),
    ({"ref_exps": [[0, 1, True, 0, 1, 1, 1]]}, "ref_exps: found True"),
    ({"ref_exps": [[0, 1, 10**400, 0, 1, 1, 1]]}, "ref_exps: found 1000"),
    ({"width": None}, "width: found None"),
    ({"height": -1}, "height: found -1"),
    ({"width": float("nan")}, "width: found nan"),
  ],
)
def test_malformed_field_is_named(tmp_path, fields, named):
  with pytest.raises(RecordError) as error:
    raw(tmp_path, **fields)
  assert f"shard.bin: record 'k1', {named}" in str(error.value)


@pytest.mark.parametrize(
  "data",
  [b"", b"{", b"[1]", b'"\xff"', b"[" * 100_000, b"9" * 5000, b'{"a": 1}x'],
)
def test_malformed_json_is_named(tmp_path, data):
  with pytest.raises(RecordError, match="record 'k1', json: "):
    raw(tmp_path, data)


NUMBER = st.floats() | st.integers() | st.integers(-5, 20)
JSON = st.recursive(
  st.none() | st.booleans() | NUMBER | st.text(),
  lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
  max_leaves=20,
)
ROWS = st.lists(st.lists(NUMBER, min_size=7, max_size=7)) | JSON
META = st.fixed_dictionaries(
  {"caption": st.text(min_size=1) | JSON},
  optional={
    "noun_chunks": ROWS,
    "ref_exps": ROWS,
    "width": NUMBER | JSON,
    "height": NUMBER | JSON,
  },
)


@settings(max_examples=300, deadline=None)
@given(META | JSON)
def test_only_record_errors_come_out(tmp_path_factory, meta):
  data = json.dumps(meta).encode()
  try:
    record = raw(tmp_path_factory.getbasetemp(), data)
  except RecordError as error:
    message = str(error)
  else:
    texts = [part.text for part in record.parts]
    assert len(set(texts)) == len(texts)
    assert all(text and text in record.caption for text in texts)
    return
  assert "shard.bin: record 'k1', " in message
  assert len(message) < 500


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_no_bytes_break_the_parser(tmp_path_factory, data):
  with pytest.raises(RecordError):
    raw(tmp_path_factory.getbasetemp(), data)


def test_processed_record(tmp_path):
  record = processed(tmp_path, parent001_txt=b" red \n")
  assert record.caption == "a red ball"
  assert record.image.read() == b"CHILD"
  assert record.meta == {}
  assert [(p.text, p.image.read(), p.box) for p in record.parts] == [
    ("a ball", b"P0", (0, 0, 1, 1)),
    ("red", b"P1", (0, 0, 1, 1)),
  ]


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"numparents_txt": b"3"}, "numparents.txt: found '3', want the 2"),
    ({"numparents_txt": b"-1"}, "numparents.txt: found '-1'"),
    ({"parent000_jpg": None}, "numparents.txt: found '2', want the 1"),
    ({"parent000_txt": None}, "parent000.txt: missing"),
    ({"parent001_txt": b"\xff"}, "parent001.txt: not UTF-8"),
    ({"child_txt": b""}, "caption: found ''"),
  ],
)
def test_malformed_processed_record_is_named(tmp_path, changes, named):
  with pytest.raises(RecordError) as error:
    processed(tmp_path, **changes)
  assert f"shard.bin: record 'k1', {named}" in str(error.value)


def test_a_cut_file_is_an_io_error_with_path_and_offset(tmp_path):
  path = tmp_path / "a.tar"
  path.write_bytes(b"12345")
  with pytest.raises(OSError, match=r"a\.tar: found 2 of 9 bytes at offset 3"):
    Member(str(path), 3, 9).read()
