import sys

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.evals import rates
from hyperclip_jax.evals.datasets import coco_ap, detection
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import data_sets, pictures
from tests.evals.data_sets import annotation, write_json
from tests.evals.pictures import BLUE, GREEN, RED

NAMES = [name for group in coco_ap.split() for name in group]
IDS = {name: number for number, name in enumerate([*NAMES, "stop sign"], 1)}
COLOURS = {"cat": (1, 0, 0), "car": (0, 1, 0)}
LEFT, RIGHT = [0, 0, 16, 16], [16, 0, 24, 16]  # Whole blocks of a JPEG.


def table():
  """Red looks like a cat, green like a car, blue like all the others."""
  other = (0, 0, 1)
  return {f"a photo of a {n}.": COLOURS.get(n, other) for n in NAMES}


@pytest.fixture
def folder(tmp_path):
  """Two images, red at the left and greenish at the right; a blue third."""
  images = np.zeros((2, 16, 40, 3), np.uint8)
  images[:, :, :16] = RED
  images[0, :, 16:], images[1, :, 16:] = (110, 150, 0), GREEN
  boxes = [
    annotation(1, 1, IDS["cat"], LEFT),
    annotation(2, 1, IDS["car"], RIGHT),
    annotation(3, 2, IDS["cat"], RIGHT),  # It looks like a car.
    annotation(4, 2, IDS["stop sign"], LEFT),
    annotation(5, 2, IDS["car"], LEFT, crowd=1),
    annotation(6, 3, IDS["stop sign"], [0, 0, 5, 5]),
  ]
  categories = {number: name for name, number in IDS.items()}
  data_sets.coco(tmp_path, [*images, BLUE], categories, boxes)
  return tmp_path


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_annotated_boxes_by_hand(make_model, folder, hyperbolic):
  result = detection.coco_boxes(make_model(hyperbolic, table()), folder)
  assert (result["images"], result["classes"]) == (2, 65)
  result = rates.measured(result)
  # The first cat is right and best. The second comes last: as every class of
  # every box counts, the car of the first image is a cat before. So precision
  # is 1 up to a recall of .5 (51 points of 101), then 2 / 3.
  cat = (51 + 50 * 2 / 3) / 101
  # The cat that looks like a car is the surest car; the true one comes second.
  car = 0.5
  assert result == pytest.approx(
    {
      "ap_all": (cat + car) / 2,
      "ap50_all": (cat + car) / 2,
      "ap_base": car,
      "ap50_base": car,
      "ap_novel": cat,
      "ap50_novel": cat,
    }
  )


def proposal(image, bbox, score):
  return {"image_id": image, "bbox": bbox, "score": score}


def supply(folder, content):
  write_json(folder / "annotations" / "proposals_val2017.json", content)


def test_proposals_by_hand(make_model, folder):
  model = make_model(False, table())
  supply(
    folder,
    [
      proposal(1, LEFT, 0.9),
      proposal(1, [0, 0, 15, 16], 0.8),  # A double of the first.
      proposal(1, RIGHT, 1.0),
      proposal(2, RIGHT, 0.4),
      proposal(3, [0, 0, 5, 5], 1.0),  # No image of the 65 classes.
    ],
  )
  result = detection.coco_proposals(model, folder)
  # As above, but for the false car, which now is the less sure one.
  cat = (51 + 50 * 2 / 3) / 101
  assert result["ap_novel"] == pytest.approx(cat)
  assert result["ap_base"] == pytest.approx(1)


def test_the_better_of_two_doubles_stays():
  boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [5, 5, 10, 10]], float)
  scores = np.array([[0.5, 0.1], [0.6, 0.3], [0.4, 0.0]])
  keep = list(detection._best(boxes, scores, 0.5))
  assert keep == [(1, 0), (2, 0), (1, 1), (2, 1)]
  everything = list(detection._best(boxes, scores, 1.0))
  assert everything == [(1, 0), (0, 0), (2, 0), (1, 1), (0, 1), (2, 1)]


def test_an_image_keeps_its_best_hundred():
  rng = np.random.default_rng(0)
  scores = rng.random((30, 65))
  keep = list(detection._best(np.ones((30, 4)), scores, 1.0))
  assert len(keep) == len(set(keep)) == 100
  worst = min(scores[pair] for pair in keep)
  assert np.count_nonzero(scores >= worst) == 100


def test_annotated_boxes_that_overlap_all_count(make_model, tmp_path):
  boxes = [
    annotation(1, 1, IDS["cat"], [0, 0, 12, 8]),
    annotation(2, 1, IDS["cat"], [0, 0, 12, 7]),
  ]
  categories = {number: name for name, number in IDS.items()}
  data_sets.coco(tmp_path, [RED], categories, boxes)
  result = detection.coco_boxes(make_model(False, table()), tmp_path)
  assert result["ap_novel"] == pytest.approx(1)


def test_groups_of_images_change_nothing(make_model, folder, monkeypatch):
  model = make_model(False, table())
  together = detection.coco_boxes(model, folder)
  monkeypatch.setattr(detection, "CHUNK", 1)
  assert detection.coco_boxes(model, folder) == together


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_a_score_is_the_models_probability(
  make_model, folder, monkeypatch, hyperbolic
):
  model = make_model(hyperbolic, table())
  model.logit_scale = 2.0
  found = []
  monkeypatch.setattr(
    detection, "average_precisions", lambda data, d: found.extend(d) or {}
  )
  detection.coco_boxes(model, folder)
  classes = model.encode_text([f"a photo of a {name}." for name in NAMES])
  cat = model.encode_image([np.array([[RED]])])
  wanted = model.probabilities(cat, classes)[0, NAMES.index("cat")]
  assert wanted < 0.5  # far from saturated
  best = max(d.score for d in found if d.image == 1)
  assert best == pytest.approx(wanted, abs=0.01)  # by JPEG's colours


def record(model):
  """The images that the model will be given."""
  seen, encode = [], model.encode_image

  def encode_image(images, lift=True):
    seen.extend(images)
    return encode(images, lift)

  model.encode_image = encode_image
  return seen


def test_boxes_are_squashed_not_cut(make_model, tmp_path):
  wide = np.full((16, 48, 3), BLUE, np.uint8)
  wide[:, :8], wide[:, 32:40] = RED, GREEN
  boxes = [annotation(1, 1, IDS["cat"], [0, 0, 40, 16])]
  categories = {number: name for name, number in IDS.items()}
  data_sets.coco(tmp_path, [wide], categories, boxes)
  model = make_model(False, table())
  seen = record(model)
  detection.coco_boxes(model, tmp_path)
  assert [image.shape for image in seen] == [(8, 8, 3)]
  np.testing.assert_allclose(seen[0][4, 0], RED, atol=30)
  np.testing.assert_allclose(seen[0][4, 7], GREEN, atol=30)


@pytest.mark.parametrize(
  ("content", "match"),
  [
    ({}, "not a list of boxes"),
    ([], "not a list of boxes"),
    ([proposal(9, LEFT, 1)], "box number 0: ValueError: image 9 is not in"),
    ([proposal(1, LEFT, 1), 3], "box number 1: TypeError"),
    ([proposal(1, LEFT, 2)], "box number 0: .*score 2 is not from 0 to 1"),
    ([proposal(1, LEFT, float("nan"))], "box number 0: .*score nan"),
    ([proposal(1, LEFT, "0.5")], "box number 0: .*score '0.5'"),
    ([proposal(1, LEFT, True)], "box number 0: .*score True"),
    ([proposal(1.5, LEFT, 1)], "box number 0: .*not a whole number"),
    ([proposal(1, [0, 0, -1, 2], 1)], "box number 0: .*is not a box"),
    ([{"image_id": 1, "score": 1}], "box number 0: KeyError: 'bbox'"),
    ([proposal(3, LEFT, 1)], "none of the boxes lies in an image of the 65"),
  ],
)
def test_damaged_proposals_are_named(make_model, folder, content, match):
  supply(folder, content)
  with pytest.raises(ValueError, match=rf"proposals_val2017\.json: {match}"):
    detection.coco_proposals(make_model(table=table()), folder)


@pytest.mark.parametrize(
  "run", [detection.coco_boxes, detection.coco_proposals]
)
def test_a_missing_package_is_told_before_the_work(
  make_model, folder, monkeypatch, run
):
  supply(folder, [proposal(1, LEFT, 1)])
  monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
  model = make_model(table=table())
  seen = record(model)
  with pytest.raises(
    OSError, match=r"needs pycocotools: pip install .*\[eval\]"
  ):
    run(model, folder)
  assert not seen


def test_missing_proposals_are_told(make_model, folder):
  with pytest.raises(MissingData, match=r"lacks\n.*proposals_val2017\.json\n"):
    detection.coco_proposals(make_model(table=table()), folder)


def test_images_of_another_size_are_named(make_model, folder):
  pictures.write(folder / "val2017" / "000000000002.jpg", RED, "JPEG", (15, 8))
  with pytest.raises(ValueError, match=r"02\.jpg: 15 x 8 pixels.* 40 x 16"):
    detection.coco_boxes(make_model(table=table()), folder)


def test_boxes_over_the_edge_are_clipped(make_model, folder):
  places = [[-4, -4, 12, 99], [50, 0, 9, 9]]
  supply(folder, [proposal(1, place, 1) for place in places])
  model = make_model(False, table())
  seen = record(model)
  detection.coco_proposals(model, folder)
  # 8 x 16 pixels of the first are there, and the edge's 1 x 9 of the second.
  assert [image.shape for image in seen] == [(8, 8, 3)] * 2
  np.testing.assert_allclose(seen[0][4, 4], RED, atol=9)
  np.testing.assert_allclose(seen[1][4, 4], (110, 150, 0), atol=9)


def test_other_categories_are_told(make_model, tmp_path):
  boxes = [annotation(1, 1, 1, [0, 0, 2, 2])]
  data_sets.coco(tmp_path, [RED], {1: "cat"}, boxes)
  with pytest.raises(ValueError, match="64 of COCO's categories are missing"):
    detection.coco_boxes(make_model(table=table()), tmp_path)


def test_a_diverged_model_is_told(make_model, folder):
  broken = dict.fromkeys(table(), (np.nan, 0, 0))
  with pytest.raises(ValueError, match="similarities are NaN"):
    detection.coco_boxes(make_model(table=broken), folder)


def test_a_bad_image_is_left_out_with_its_boxes(make_model, folder):
  path = folder / "val2017" / "000000000002.jpg"
  path.write_bytes(b"nothing")
  result = detection.coco_boxes(make_model(False, table()), folder)
  assert result["ap_novel"] == pytest.approx(1)  # The other cat is gone.
  assert result["images"] == 1
  assert list(result["left_out"]) == [str(path)]
  (folder / "val2017" / "000000000001.jpg").write_bytes(b"")
  with pytest.raises(ValueError, match=r"no image can be read.*01\.jpg"):
    detection.coco_boxes(make_model(False, table()), folder)


def test_boxes_are_cut_from_the_pixels_as_stored(make_model, folder):
  path = folder / "val2017" / "000000000001.jpg"
  before = Image.open(path)
  exif = before.getexif()
  exif[0x0112] = 3  # Upside down: the size stays.
  before.save(path, exif=exif, quality=95)
  model = make_model(False, table())
  seen = record(model)
  detection.coco_boxes(model, folder)
  np.testing.assert_allclose(seen[0][4, 4], RED, atol=30)
