import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.prepare import grounded, inputs
from hyperclip_jax.data.prepare.tally import Tally
from hyperclip_jax.data.records.sample import Reading
from tests.data.tars import jpeg

IMAGE = {
  "id": 7,
  "file_name": "a/7.jpg",
  "width": 64,
  "height": 48,
  "caption": "a dog on a red sofa",
  "license": 3,
  "tokens_negative": [[0, 1]],
}


def note(**fields):
  return {"image_id": 7, "bbox": [16, 12, 32, 24]} | fields


def read(tmp_path, images, notes, categories=(), size=100):
  (tmp_path / "a").mkdir(exist_ok=True)
  (tmp_path / "a/7.jpg").write_bytes(jpeg(7))
  path = tmp_path / "boxes.json"
  content = {"images": images, "annotations": notes}
  path.write_text(json.dumps(content | {"categories": list(categories)}))
  tally = Tally()
  sources = grounded.cut(str(path), str(tmp_path), size)
  reading = Reading(8, grounded.FORM)
  return [list(inputs.read(s, tally, reading)) for s in sources], tally


def test_record_of_each_kind_of_phrase(tmp_path):
  notes = [
    note(phrase="a brown dog"),
    note(tokens_positive=[[0, 5]], category_id=1),
    note(tokens_positive=[[9, 14], [15, 19]], bbox=[0.0, 0.0, 64.0, 48.0]),
    note(category_id=18),
  ]
  names = [{"id": 18, "name": "dog"}, {"id": 1, "name": "object"}, {"id": 2}]
  [[sample]], tally = read(tmp_path, [IMAGE], notes, names)
  assert sample.key == "7"
  assert sample.caption == IMAGE["caption"]
  assert sample.image == jpeg(7)
  assert tally.found[0] == ((16, 12, 32, 24), (64, 48))
  assert sample.meta == {"id": 7, "file_name": "a/7.jpg", "license": 3}
  middle = (0.25, 0.25, 0.75, 0.75)
  assert sample.parts == (
    ("a brown dog", middle, None),
    ("a dog", middle, None),
    ("a red sofa", (0.0, 0.0, 1.0, 1.0), None),
    ("dog", middle, None),
  )
  assert not sample.left_out
  assert not tally.boxes


def test_captions_may_be_annotations(tmp_path):
  image = {k: v for k, v in IMAGE.items() if k != "caption"}
  notes = [
    {"image_id": 7, "caption": "a dog"},
    {"image_id": 7, "caption": "another caption"},
    note(tokens_positive=[[2, 5]]),
  ]
  [[sample]], _ = read(tmp_path, [image], notes)
  assert sample.caption == "a dog"
  assert [part.text for part in sample.parts] == ["dog"]


@pytest.mark.parametrize(
  ("fields", "reason"),
  [
    ({"bbox": [0, 0, 1]}, "bad row"),
    ({"bbox": "0011", "phrase": "a"}, "bad row"),
    ({}, "no phrase"),
    ({"category_id": 5}, "no phrase"),
    ({"category_id": [5]}, "no phrase"),
    ({"phrase": 3}, "no phrase"),
    ({"tokens_positive": []}, "bad offsets"),
    ({"tokens_positive": [[0, 5], [0, 90]]}, "bad offsets"),
    ({"tokens_positive": [3]}, "bad offsets"),
    ({"image_id": 8}, "annotation of no image"),
    ({"image_id": None}, "annotation of no image"),
  ],
)
def test_bad_annotations_are_counted(tmp_path, fields, reason):
  [[sample]], tally = read(tmp_path, [IMAGE], [note(**fields)])
  assert sample.parts == ()
  assert tally.boxes + Counter(sample.left_out) == {reason: 1}


@pytest.mark.parametrize(
  ("fields", "reason"),
  [
    ({"caption": None}, "no caption"),
    ({"width": 0}, "no image size"),
    ({"height": None}, "no image size"),
    ({"height": float("nan")}, "no image size"),
    ({"file_name": "none.jpg"}, "missing image"),
    ({"file_name": "a"}, "missing image"),
    ({"file_name": "a\0b"}, "missing image"),
    ({"file_name": None}, "no file name"),
    ({"file_name": "../secret"}, "file outside of the folder"),
    ({"file_name": "a/../../secret"}, "file outside of the folder"),
    ({"file_name": "/etc/passwd"}, "file outside of the folder"),
    ({"id": None}, "bad json"),
    ({"id": [1]}, "bad json"),
  ],
)
def test_bad_images_are_counted(tmp_path, fields, reason):
  other = IMAGE | {"id": 8}
  [[sample]], tally = read(tmp_path, [IMAGE | fields, other], [])
  assert sample.key == "8"
  assert tally.records == {reason: 1}


def test_repeated_images_are_dropped_over_all_shards(tmp_path):
  images = [IMAGE | {"id": i} for i in (7, 8, 7, 9, "8")] + ["no image"]
  shards, tally = read(
    tmp_path, images, [note(phrase="a"), 3, note(image_id=1)], size=2
  )
  assert [[s.key for s in shard] for shard in shards] == [["7", "8"], ["9"], []]
  assert len(shards[0][0].parts) == 1
  assert tally.records == {"duplicate key": 2, "bad json": 1}
  assert tally.boxes == {"annotation of no image": 2}


@pytest.mark.parametrize(
  ("text", "match"),
  [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[1]", r"found \[1\], want an object with the lists"),
    ('{"success": 3}', "found an object with success; want"),
    ('{"images": [], "annotations": []}', "found an object"),
    ('{"images": [{}], "annotations": {}}', "found an object"),
  ],
)
def test_other_jsons_are_named(tmp_path, text, match):
  path = tmp_path / "boxes.json"
  path.write_text(text)
  with pytest.raises(ValueError, match=rf"boxes\.json: .*{match}"):
    grounded.cut(str(path), "", 10)


ANY = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
  lambda inner: st.lists(inner, max_size=4),
  max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(
  st.dictionaries(st.sampled_from(list(IMAGE)), ANY),
  st.dictionaries(
    st.sampled_from(
      ["bbox", "image_id", "phrase", "tokens_positive", "category_id"]
    ),
    ANY,
  ),
  ANY,
)
def test_any_json_is_a_sample_or_a_rejection(
  tmp_path_factory, image, fields, category
):
  [samples], tally = read(
    tmp_path_factory.mktemp("json"),
    [IMAGE | image],
    [note(**fields)],
    [category, {"id": category, "name": category}],
  )
  assert len(samples) + tally.records.total() == 1
