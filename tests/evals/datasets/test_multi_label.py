import numpy as np
import pytest

from hyperclip_jax.evals.datasets import multi_label
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import data_sets, pictures
from tests.evals.data_sets import annotation
from tests.evals.pictures import BLUE, GREEN, RED

CLASSES = ("cat", "dog")
TABLE = {"a photo of a cat.": (1, 0, 0), "a photo of a dog.": (0, 1, 0)}
BOX = [0, 0, 4, 4]


@pytest.fixture
def voc(tmp_path, monkeypatch):
  """Four images, nearest to cat first; an empty line ends each list."""
  monkeypatch.setattr(multi_label, "VOC_CLASSES", CLASSES)
  root = tmp_path / "VOCdevkit" / "VOC2007"
  names = ["000001", "000002", "000004", "000006"]
  colours = [RED, (200, 100, 0), (100, 200, 0), GREEN]
  for name, colour in zip(names, colours, strict=True):
    pictures.write(root / "JPEGImages" / f"{name}.jpg", colour, "JPEG")
  (root / "ImageSets" / "Main").mkdir(parents=True)
  for label, marks in (("cat", (0, -1, 1, -1)), ("dog", (-1, -1, -1, 1))):
    lines = [f"{n} {m:2d}\n" for n, m in zip(names, marks, strict=True)]
    path = root / "ImageSets" / "Main" / f"{label}_test.txt"
    path.write_text("".join(lines) + "\n")
  return tmp_path


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_voc2007_by_hand(make_model, voc, hyperbolic):
  result = multi_label.voc2007(make_model(hyperbolic, TABLE), voc)
  # Cat without the difficult first image: its one hit is second of three.
  assert result["map"] == pytest.approx((1 / 2 + 1) / 2)
  # With it, hits are first and third of four.
  both = (1 + 2 / 3) / 2
  assert result["map_with_difficult"] == pytest.approx((both + 1) / 2)


def test_voc2007_damage_is_named(make_model, voc):
  model = make_model(table=TABLE)
  root = voc / "VOCdevkit" / "VOC2007"
  dogs = root / "ImageSets" / "Main" / "dog_test.txt"
  good = dogs.read_text()
  for text, match in (
    ("", "dog_test.txt: empty"),
    (good.replace("-1", "7"), "dog_test.txt: line 1: '000001  ?7' is not"),
    (good.replace("000002", "000003"), "dog_test.txt: not the images of cat_"),
  ):
    dogs.write_text(text)
    with pytest.raises(ValueError, match=match):
      multi_label.voc2007(model, voc)
  dogs.unlink()
  with pytest.raises(MissingData, match=r"voc2007.*lacks\n.*dog_test\.txt\n"):
    multi_label.voc2007(model, voc)
  dogs.write_text(good)
  (root / "JPEGImages" / "000004.jpg").unlink()
  with pytest.raises(MissingData, match=r"000004\.jpg"):
    multi_label.voc2007(model, voc)


def test_voc2007_names_stay_in_the_folder(make_model, voc):
  lists = voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main"
  for label in CLASSES:
    (lists / f"{label}_test.txt").write_text("../../x 1\n")
  with pytest.raises(
    ValueError, match=r"'\.\./\.\./x.jpg' is not a file inside"
  ):
    multi_label.voc2007(make_model(table=TABLE), voc)


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_coco_by_hand(make_model, tmp_path, hyperbolic):
  boxes = [
    annotation(1, 1, 18, BOX),
    annotation(2, 2, 17, BOX, crowd=1),
    annotation(3, 2, 18, BOX),
    annotation(4, 4, 17, BOX),
    annotation(5, 4, 17, BOX),
  ]
  # The third image shows nothing; were it kept, it would come first for cat.
  pixels = [(200, 100, 0), (100, 200, 0), RED, GREEN]
  categories = {17: "cat", 18: "dog"}
  data_sets.coco(tmp_path, pixels, categories, boxes)
  result = multi_label.coco(make_model(hyperbolic, TABLE), tmp_path)
  # Cat ranks images 1, 2, 4: hits at 2 and 3. Dog ranks 4, 2, 1: the same.
  assert result["map"] == pytest.approx((1 / 2 + 2 / 3) / 2)
  assert (result["images"], result["classes"]) == (3, 2)


def test_images_are_squashed_not_cut(make_model, tmp_path):
  wide = np.full((8, 40, 3), GREEN, np.uint8)
  wide[:, :8] = RED
  data_sets.coco(tmp_path, [wide], {17: "cat"}, [annotation(1, 1, 17, BOX)])
  model, seen = make_model(table=TABLE), []
  encode = model.encode_image

  def record(images, lift=True):
    seen.extend(images)
    return encode(images, lift)

  model.encode_image = record
  multi_label.coco(model, tmp_path)
  assert [image.shape for image in seen] == [(8, 8, 3)]
  np.testing.assert_allclose(seen[0][4, 0], RED, atol=30)
  np.testing.assert_allclose(seen[0][4, 7], GREEN, atol=30)


def test_coco_without_objects_is_told(make_model, tmp_path):
  data_sets.coco(tmp_path, [BLUE], {17: "cat"}, [])
  with pytest.raises(ValueError, match="contain no object"):
    multi_label.coco(make_model(table=TABLE), tmp_path)


def test_the_twenty_classes():
  assert len(set(multi_label.VOC_CLASSES)) == 20
  assert np.all(np.diff([ord(n[0]) for n in multi_label.VOC_CLASSES]) >= 0)


def test_a_bad_image_is_left_out_of_all_rankings(make_model, voc, tmp_path):
  path = voc / "VOCdevkit" / "VOC2007" / "JPEGImages" / "000002.jpg"
  path.write_bytes(b"nothing")
  result = multi_label.voc2007(make_model(table=TABLE), voc)
  assert result["map"] == 1  # The dog that came before the cat is gone.
  assert list(result["left_out"]) == [str(path)]
  boxes = [annotation(1, 1, 17, BOX), annotation(2, 2, 18, BOX)]
  data_sets.coco(tmp_path / "coco", [RED, GREEN], {17: "cat", 18: "dog"}, boxes)
  path = tmp_path / "coco" / "val2017" / "000000000001.jpg"
  path.write_bytes(b"nothing")
  result = multi_label.coco(make_model(table=TABLE), tmp_path / "coco")
  assert (result["map"], result["images"]) == (1, 1)
  assert list(result["left_out"]) == [str(path)]
