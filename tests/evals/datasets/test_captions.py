"""COCO and Flickr30k laid out as they are published, in small."""

import json

import pytest

from hyperclip_jax.evals import catalog, rates
from hyperclip_jax.evals.datasets import captions
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import pictures
from tests.evals.pictures import BLUE, GREEN, RED

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}
TABLE = {
  "A red thing.": (1, 0, 0),
  "so red": (2, 0, 0),
  "A green thing.": (0, 1, 0),
  "really green": (0, 0, 3),  # Looks blue to the model.
  "A blue thing.": (0, 0, 1),
  "not to be read": (0, 0, 0),
}


def run(make_model, name, data):
  task = next(task for task in catalog.TASKS if task.name == name)
  return task.run(make_model(table=TABLE), data)


def write_json(path, content):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(content))


def write_coco(data):
  """captions_val2017.json: captions of an image lie far apart."""
  names = {139: "red", 285: "green", 632: "blue"}
  texts = [
    (285, "A green thing."),
    (139, "A red thing."),
    (632, "A blue thing."),
    (139, "so red"),
    (285, "really green"),
  ]
  images = [
    {"id": i, "file_name": f"{i:012d}.jpg", "height": 9, "width": 12}
    for i in (*names, 999)  # One without captions.
  ]
  notes = [
    {"id": n, "image_id": i, "caption": text}
    for n, (i, text) in enumerate(texts)
  ]
  for i, name in names.items():
    path = data / "coco" / "val2017" / f"{i:012d}.jpg"
    pictures.write(path, COLOURS[name], "JPEG")
  write_json(
    data / "coco" / "annotations" / "captions_val2017.json",
    {"info": {}, "licenses": [], "images": images, "annotations": notes},
  )


def karpathy(rows):
  """As dataset_coco.json; without a folder as dataset_flickr30k.json."""
  images = []
  for i, (filename, split, texts) in enumerate(rows):
    folder, _, name = filename.rpartition("/")
    sentences = [
      {"tokens": t.split(), "raw": t, "imgid": i, "sentid": i} for t in texts
    ]
    image = {"filename": name, "imgid": i, "split": split}
    image |= {"filepath": folder} if folder else {}
    images.append(image | {"sentences": sentences, "sentids": [i]})
  return {"images": images, "dataset": "x"}


def test_coco(make_model, tmp_path):
  write_coco(tmp_path)
  found = run(make_model, "coco", tmp_path)
  # "really green" finds blue, and blue finds it first: it lies further out.
  assert found["t2i_r1"] == pytest.approx(4 / 5)
  assert found["i2t_r5"] == found["t2i_r5"] == found["t2i_r10"] == 1
  assert found["t2i_r1_chance"] == pytest.approx(1 / 3)
  assert (found["images"], found["texts"]) == (3, 5)
  assert set(rates.measured(found)) == {
    f"{w}2{v}_r{k}" for w, v in ("it", "ti") for k in (1, 5, 10)
  }


def test_coco_of_karpathy_with_either_images(make_model, tmp_path):
  rows = [
    ("val2014/COCO_val2014_000000391895.jpg", "test", ["A red thing."]),
    ("val2014/COCO_val2014_000000060623.jpg", "restval", ["not to be read"]),
    ("val2014/COCO_val2014_000000483108.jpg", "test", ["A green thing."]),
  ]
  write_json(tmp_path / "coco" / "dataset_coco.json", karpathy(rows))
  with pytest.raises(MissingData, match="COCO_val2014"):
    run(make_model, "coco_karpathy", tmp_path)
  folder = tmp_path / "coco"
  pictures.write(folder / rows[0][0], RED, "JPEG")
  pictures.write(folder / "train2017" / "000000483108.jpg", GREEN, "JPEG")
  found = run(make_model, "coco_karpathy", tmp_path)
  assert found["i2t_r1"] == found["t2i_r1"] == 1


def test_flickr30k(make_model, tmp_path):
  rows = [
    ("1007129816.jpg", "test", ["A red thing.", "so red"]),
    ("1009434119.jpg", "train", ["not to be read"]),
    ("101362133.jpg", "test", ["A blue thing."]),
  ]
  folder = tmp_path / "flickr30k"
  write_json(folder / "dataset_flickr30k.json", karpathy(rows))
  pictures.write(folder / "flickr30k_images" / rows[0][0], RED, "JPEG")
  pictures.write(folder / "flickr30k_images" / rows[2][0], BLUE, "JPEG")
  found = run(make_model, "flickr30k", tmp_path)
  assert found["i2t_r1"] == found["t2i_r1"] == 1
  (folder / "flickr30k_images" / rows[2][0]).unlink()
  with pytest.raises(MissingData, match=r"101362133\.jpg"):
    run(make_model, "flickr30k", tmp_path)


def test_images_are_squashed_not_cropped(make_model, tmp_path):
  """A model that sees the left edge of a wide image: a crop would lose it."""
  from PIL import Image

  write_coco(tmp_path)
  wide = Image.new("RGB", (40, 8), BLUE)
  wide.paste(RED, (0, 0, 10, 8))
  wide.save(tmp_path / "coco" / "val2017" / "000000000139.jpg", quality=95)
  assert run(make_model, "coco", tmp_path)["t2i_r1"] == pytest.approx(4 / 5)


@pytest.mark.parametrize("name", ["coco", "coco_karpathy", "flickr30k"])
def test_missing_data_says_where_and_how(make_model, tmp_path, name):
  with pytest.raises(MissingData) as error:
    run(make_model, name, tmp_path)
  assert error.value.name == name
  assert "https://" in error.value.where
  assert ".json" in error.value.layout


@pytest.mark.parametrize(
  ("content", "message"),
  [
    ({"images": []}, "no image to evaluate"),
    ({"pictures": []}, "KeyError: 'images'"),
    (karpathy([("../../etc/x.jpg", "test", ["a"])]), "not a file inside"),
    (karpathy([("/etc/x.jpg", "test", ["a"])]), "not a file inside"),
    ([], "not in the published format"),
  ],
)
def test_broken_json_is_named(tmp_path, content, message):
  write_json(tmp_path / "coco" / "dataset_coco.json", content)
  with pytest.raises(ValueError, match=message) as error:
    captions.coco_karpathy(tmp_path)
  assert "dataset_coco.json" in str(error.value)


@pytest.mark.parametrize("value", [None, 7, ["a"], {"a": "b"}, True])
def test_a_caption_that_is_no_text_is_named(make_model, tmp_path, value):
  write_coco(tmp_path)
  path = tmp_path / "coco" / "annotations" / "captions_val2017.json"
  content = json.loads(path.read_text())
  content["annotations"][3]["caption"] = value
  write_json(path, content)
  match = r"captions_val2017\.json: .*annotation number 3 is .*, not a text"
  with pytest.raises(ValueError, match=match):
    run(make_model, "coco", tmp_path)


@pytest.mark.parametrize(
  ("sentences", "message"),
  [
    ([], r"1\.jpg has no sentences"),
    (None, "TypeError"),
    ([{"tokens": ["a"]}], "KeyError: 'raw'"),
    ([{"raw": None}], r"a sentence of .*1\.jpg is None, not a text"),
  ],
)
def test_an_image_without_sentences_is_named(
  make_model, tmp_path, sentences, message
):
  content = karpathy([("val2014/1.jpg", "test", ["A red thing."])])
  content["images"][0]["sentences"] = sentences
  write_json(tmp_path / "coco" / "dataset_coco.json", content)
  with pytest.raises(ValueError, match=rf"dataset_coco\.json: .*{message}"):
    run(make_model, "coco_karpathy", tmp_path)


def test_json_may_begin_with_a_byte_order_mark(make_model, tmp_path):
  write_coco(tmp_path)
  path = tmp_path / "coco" / "annotations" / "captions_val2017.json"
  path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
  assert run(make_model, "coco", tmp_path)["images"] == 3


def test_a_bad_image_is_left_out_with_its_captions(make_model, tmp_path):
  write_coco(tmp_path)
  path = tmp_path / "coco" / "val2017" / "000000000285.jpg"
  path.write_bytes(b"<html>")
  found = run(make_model, "coco", tmp_path)
  assert (found["images"], found["texts"]) == (2, 3)
  assert found["i2t_r1"] == found["t2i_r1"] == 1
  assert list(found["left_out"]) == [str(path)]
  assert "cannot decode" in found["left_out"][str(path)]
