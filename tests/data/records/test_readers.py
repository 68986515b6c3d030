import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.records import readers
from hyperclip_jax.data.records.record import RecordError
from hyperclip_jax.data.records.sample import Reading, cleaned
from tests.data import tars

FIELDS = ("caption", "noun_chunks", "ref_exps", "width", "height")
GOOD = [0.1, 0.1, 0.9, 0.9, 0.5]


def members(**contents):
  """Members by suffix, which no keyword can hold."""
  return {name.replace("_", "."): data for name, data in contents.items()}


READING = Reading()
IMAGE = tars.jpeg(0, 384, 512)
WHERE = "shard.tar: record 'k1'"


def read(reader, members, reading=READING):
  """The record that a reader makes of members."""
  return cleaned(reader(WHERE, "k1", members), WHERE, reading)


def raw(data=None, reading=READING, image=IMAGE, **fields):
  if data is None:
    data = json.dumps(tars.grit_meta(**fields)).encode()
  return read(readers.raw, members(jpg=image, json=data), reading)


def processed(**changes):
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
  return read(readers.processed, members(**contents))


def test_raw_record():
  record = raw()
  assert record.key == "k1"
  assert record.caption == "a red ball on a wooden table"
  assert record.image == IMAGE
  assert [part.text for part in record.parts] == [
    "a red ball",
    "a wooden table",
    "a red ball on a wooden table",
  ]
  assert record.parts[1].box == (0.1, 0.2, 1.0, 1.0)
  assert all(part.crop is None for part in record.parts)
  assert record.meta["clip_similarity_vitb32"] == 0.3


def test_first_good_box_of_a_phrase_wins():
  tiny = [0, 10, 0, 0, 0.01, 0.01, 0.9]
  rows = [tiny, [0, 10, *GOOD], [0, 10, 0, 0, 1, 1, 0.9]]
  record = raw(noun_chunks=rows, ref_exps=[[0, 11, 0, 0, 1, 1, 1]])
  assert [(part.text, part.box) for part in record.parts] == [
    ("a red ball", (0.1, 0.1, 0.9, 0.9))
  ]


def test_min_side_is_in_pixels_of_the_image():
  row = {"noun_chunks": [[0, 10, 0, 0, 0.06, 0.06, 0.9]], "ref_exps": []}
  assert raw(**row).left_out == {"box too small": 1}
  assert raw(reading=Reading(16), **row).parts
  large = tars.jpeg(0, 640, 640)
  for size in ({}, {"width": 9, "height": 9}, {"width": None, "height": "x"}):
    assert raw(image=large, **row, **size).parts


def test_min_side_is_of_the_image_as_it_is_read():
  row = {"noun_chunks": [[0, 10, 0, 0, 0.25, 1, 0.9]], "ref_exps": []}
  image = tars.turned(tars.jpeg(0, 48, 128))  # upright: 48 wide, 128 high
  assert raw(image=image, reading=Reading(20), **row).parts
  found = raw(image=image, reading=Reading(20, upright=True), **row)
  assert found.left_out == {"box too small": 1}


@pytest.mark.parametrize(
  ("start", "end"),
  [(5, 5), (10, 0), (-3, 2), (0, 99), (1, 2), (float("nan"), 3), (0, 1e400)],
)
def test_offsets_without_a_phrase_are_dropped(start, end):
  record = raw(noun_chunks=[[start, end, *GOOD]], ref_exps=[])
  assert record.parts == ()


def test_offsets_count_characters_not_bytes():
  record = raw(caption="żółty kot 🐈 i pies", noun_chunks=[[10, 18, *GOOD]])
  assert record.parts[0].text == "🐈 i pies"


@pytest.mark.parametrize(
  "bad",
  [
    [0, 1, 2],
    None,
    "text",
    [0, 1, "0", 0, 1, 1, 1],
    [0, 1, True, 0, 1, 1, 1],
    [0, 10, 0, 0, 1, 1],
  ],
)
def test_a_bad_row_is_left_out_and_counted(bad):
  record = raw(noun_chunks=[bad, [0, 10, *GOOD]], ref_exps=[])
  assert [part.text for part in record.parts] == ["a red ball"]
  assert record.left_out == {"bad row": 1}


def test_what_is_left_out_is_counted_by_its_reason():
  rows = [
    [0, 10, *GOOD],
    [0, 10, *GOOD],
    [0, 99, *GOOD],
    [10, 11, *GOOD],
    [14, 28, 32, 24, 192, 144, 0.9],
    [14, 28, 0.5, 0.5, 0.2, 0.2, 0.9],
    [14, 28, 0, 0, 0.001, 1, 0.9],
    [14, 28, 0, 10**400, 1, 1, 0.9],
  ]
  assert raw(noun_chunks=rows, ref_exps=[]).left_out == {
    "phrase repeated": 1,
    "bad offsets": 1,
    "phrase empty": 1,
    "box outside": 1,
    "box inverted": 1,
    "box too small": 1,
    "box not finite": 1,
  }


def test_lists_may_be_texts():
  fields = tars.grit_meta()
  as_text = {
    name: json.dumps(fields[name]) for name in ("noun_chunks", "ref_exps")
  }
  assert raw(**as_text).parts == raw().parts
  assert raw(noun_chunks="", ref_exps="null").parts == ()


def test_texts_are_normalised_as_prepare_does():
  caption = "  a\u0301  red\nball \ud83d"
  record = raw(caption=caption, noun_chunks=[[2, 7, *GOOD]], ref_exps=[])
  assert record.caption == "\u00e1 red ball"
  assert record.parts[0].text == "\u00e1 r"


def test_a_text_member_of_absurd_size_is_not_read():
  with pytest.raises(RecordError, match=r"json: 2,000,000 bytes, at most"):
    raw(b" " * 2_000_000)


def captioned(**contents):
  return read(readers.captioned, members(**contents))


def test_captioned_record():
  record = captioned(png=b"IMAGE", txt="a  żółty\tkot\n".encode())
  assert record == ("k1", "a żółty kot", b"IMAGE", (), {}, {})
  for text in (b"", b" \n", b"\xff"):
    with pytest.raises(RecordError, match=r"shard\.tar: record 'k1', "):
      captioned(jpg=b"IMAGE", txt=text)


def test_plain_captioned_image_has_no_parts():
  data = json.dumps({"caption": "a cat", "noun_chunks": None}).encode()
  assert raw(data).parts == ()


@pytest.mark.parametrize(
  ("fields", "named"),
  [
    ({"caption": None}, "caption: found None"),
    ({"caption": "  "}, "caption: found"),
    ({"noun_chunks": {"a": 1}}, "noun_chunks: found {'a': 1}"),
    ({"caption": 7}, "caption: found 7, want a text"),
    ({"caption": ["a cat"]}, "caption: found ['a cat'], want a text"),
    ({"noun_chunks": "no list"}, "noun_chunks: found 'no list', want a list"),
    ({"noun_chunks": '{"a": 1}'}, "noun_chunks: found '{"),
    ({"ref_exps": 3.5}, "ref_exps: found 3.5"),
  ],
)
def test_malformed_field_is_named(fields, named):
  with pytest.raises(RecordError) as error:
    raw(**fields)
  assert f"shard.tar: record 'k1', {named}" in str(error.value)


@pytest.mark.parametrize(
  "data",
  [b"", b"{", b"[1]", b'"\xff"', b"[" * 100_000, b"9" * 5000, b'{"a": 1}x'],
)
def test_malformed_json_is_named(data):
  with pytest.raises(RecordError, match="record 'k1', json: "):
    raw(data)


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
def test_only_record_errors_come_out(meta):
  data = json.dumps(meta).encode()
  try:
    record = raw(data)
  except RecordError as error:
    message = str(error)
  else:
    texts = [part.text for part in record.parts]
    assert len(set(texts)) == len(texts)
    assert all(texts)
    return
  assert "shard.tar: record 'k1', " in message
  assert len(message) < 500


@settings(max_examples=100, deadline=None)
@given(st.binary())
def test_no_bytes_break_the_parser(data):
  with pytest.raises(RecordError):
    raw(data)


def test_processed_record():
  record = processed(parent001_txt=b" red \n")
  assert record.caption == "a red ball"
  assert record.image == b"CHILD"
  assert record.meta == {}
  assert [(p.text, p.crop, p.box) for p in record.parts] == [
    ("a ball", b"P0", (0, 0, 1, 1)),
    ("red", b"P1", (0, 0, 1, 1)),
  ]


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    (None, "no phrase"),
    (b" \n", "phrase empty"),
    (b" red", "phrase repeated"),
    (b"\xff", "not utf-8"),
    (b"a" * 2_000_000, "member too large"),
  ],
)
def test_a_processed_part_without_a_good_phrase_is_left_out(text, reason):
  record = processed(parent001_txt=text, parent000_txt=b"red")
  assert [(part.text, part.crop) for part in record.parts] == [("red", b"P0")]
  assert record.left_out == {reason: 1}


@pytest.mark.parametrize(
  ("changes", "named"),
  [
    ({"numparents_txt": b"3"}, "numparents.txt: found '3', want the 2"),
    ({"numparents_txt": b"-1"}, "numparents.txt: found '-1'"),
    ({"parent000_jpg": None}, "numparents.txt: found '2', want the 1"),
    ({"child_txt": b""}, "caption: found ''"),
  ],
)
def test_malformed_processed_record_is_named(changes, named):
  with pytest.raises(RecordError) as error:
    processed(**changes)
  assert f"shard.tar: record 'k1', {named}" in str(error.value)


def prepared(**content):
  row = {"text": "a ball", "box": [0.25, 0, 0.75, 1]}
  found = {"key": "k", "caption": "a red ball", "parts": [row]} | content
  data = json.dumps(found).encode()
  return read(readers.prepared, members(jpg=b"IMAGE", parts_json=data))


def test_prepared_record():
  record = prepared(meta={"url": "u"})
  assert record.key == "k"
  assert record.parts == (("a ball", (0.25, 0, 0.75, 1), None),)
  assert record.meta == {"url": "u"}


@pytest.mark.parametrize(
  ("row", "reason"),
  [
    (None, "bad row"),
    ({"text": "a"}, "bad row"),
    ({"text": "a", "box": [0, 0, 1]}, "bad row"),
    ({"text": "a", "box": [0, 0, 1, "1"]}, "bad row"),
    ({"text": 3, "box": [0, 0, 1, 1]}, "bad row"),
    ({"text": " ", "box": [0, 0, 1, 1]}, "phrase empty"),
    ({"text": "a", "box": [0.5, 0, 0.5, 1]}, "box too small"),
    ({"text": "a", "box": [2, 0, 3, 1]}, "box outside"),
  ],
)
def test_a_bad_row_of_a_prepared_record_costs_that_row(row, reason):
  good = {"text": "a ball", "box": [0, 0, 1, 1]}
  record = prepared(parts=[row, good])
  assert [part.text for part in record.parts] == ["a ball"]
  assert record.left_out == {reason: 1}


@pytest.mark.parametrize(
  ("content", "named"),
  [
    ({"parts": None}, "parts: found None, want a list"),
    ({"caption": 3}, "caption: found 3, want a text"),
    ({"caption": " "}, "caption: found ' ', want a text"),
  ],
)
def test_malformed_prepared_record_is_named(content, named):
  with pytest.raises(RecordError) as error:
    prepared(**content)
  assert f"shard.tar: record 'k1', {named}" in str(error.value)
