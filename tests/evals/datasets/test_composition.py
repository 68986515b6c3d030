import numpy as np
import pytest

from hyperclip_jax.evals import rates
from hyperclip_jax.evals.datasets import composition
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import pictures
from tests.evals.data_sets import write_json
from tests.evals.pictures import BLUE, GREEN, RED

TABLE = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
FILES = {"000000000139.jpg": RED, "000000000285.jpg": GREEN}


def record(name, true, false):
  return {"filename": name, "caption": true, "negative_caption": false}


@pytest.fixture
def crepe(tmp_path):
  """Half of swap_att is right, a third of swap_obj, and all of the others."""
  red, green = FILES
  for name, colour in FILES.items():
    pictures.write(tmp_path / "val2017" / name, colour, "JPEG")
  good, bad = record(red, "red", "green"), record(green, "blue", "green")
  tie = record(red, "red", "red")
  for kind in composition.SUGAR_CREPE:
    write_json(tmp_path / "data" / f"{kind}.json", {"0": good, "7": good})
  write_json(tmp_path / "data" / "swap_att.json", {"0": good, "1": bad})
  write_json(
    tmp_path / "data" / "swap_obj.json", {"0": good, "1": bad, "3": tie}
  )
  return tmp_path


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_sugar_crepe_by_hand(make_model, crepe, hyperbolic):
  everything = composition.sugar_crepe(make_model(hyperbolic, TABLE), crepe)
  assert everything["pairs"] == 15
  assert everything["swap_att_chance"] == 0.5
  assert everything["swap_att_se"] == pytest.approx((0.25 / 2) ** 0.5)
  result = rates.measured(everything)
  assert result.pop("swap_att") == 1 / 2
  assert result.pop("swap_obj") == pytest.approx(1 / 3)
  assert result.pop("swap") == pytest.approx((1 / 2 + 1 / 3) / 2)
  assert result.pop("mean") == pytest.approx((5 + 1 / 2 + 1 / 3) / 7)
  assert result == dict.fromkeys(
    [*composition.SUGAR_CREPE[:5], "add", "replace"], 1.0
  )


@pytest.mark.parametrize(
  ("content", "match"),
  [
    ([], "not a JSON object"),
    ({}, "not a JSON object"),
    ({"5": {"filename": "x.jpg"}}, "record '5' lacks a filename, caption or"),
    ({"5": record("x.jpg", "a", None)}, "record '5' lacks"),
    ({"5": record("../x.jpg", "a", "b")}, "record '5': .*not a file inside"),
    ({"5": record(7, "a", "b")}, "record '5': 7 is not a file inside"),
  ],
)
def test_damaged_records_of_sugar_crepe(make_model, crepe, content, match):
  write_json(crepe / "data" / "add_obj.json", content)
  with pytest.raises(ValueError, match=rf"add_obj\.json: {match}"):
    composition.sugar_crepe(make_model(table=TABLE), crepe)


def test_what_sugar_crepe_lacks_is_told(make_model, crepe):
  model = make_model(table=TABLE)
  (crepe / "val2017" / "000000000285.jpg").unlink()
  with pytest.raises(MissingData, match=r"sugar_crepe.*lacks\n.*285\.jpg\n"):
    composition.sugar_crepe(model, crepe)
  (crepe / "data" / "add_obj.json").unlink()
  with pytest.raises(MissingData, match=r"lacks\n.*add_obj\.json\n"):
    composition.sugar_crepe(model, crepe)


def pair(name, true, false):
  return [name, {"POS": [true], "NEG": [false]}]


@pytest.fixture
def checklist(tmp_path):
  """Lists of VL-CheckList; `right` of `of` pairs are right in each."""
  for path, colour in {
    "vg/VG_100K/2.jpg": RED,
    "vg/VG_100K_2/3.jpg": GREEN,
    "swig/dialing_8.jpg": BLUE,
    "hake/hico_20160224_det/images/test2015/x.jpg": RED,
  }.items():
    pictures.write(tmp_path / path, colour, "JPEG")
  lists = {
    "Attribute/vg/action.json": ("VG_100K/2.jpg", "red", 1, 1),
    "Attribute/vg/color.json": ("VG_100K_2/3.jpg", "green", 1, 2),
    "Attribute/vaw/action.json": ("VG_100K/2.jpg", "red", 0, 1),
    "Object/Location/vg_location/vg_obj_mid.json": (
      "VG_100K/2.jpg",
      "red",
      1,
      1,
    ),
    "Object/Location/vg_location/vg_subj_mid.json": (
      "VG_100K/2.jpg",
      "red",
      0,
      1,
    ),
    "Object/Location/swig_location/swig_tool/swig_tool_mid.json": (
      "dialing_8.jpg",
      "blue",
      1,
      1,
    ),
    "Object/Size/hake_size/hake_obj_small.json": (
      "hico_20160224_det/images/test2015/x.jpg",
      "red",
      1,
      4,
    ),
    "Relation/swig_action.json": ("dialing_8.jpg", "blue", 1, 1),
    "Relation/vg/spatial.json": ("VG_100K/2.jpg", "red", 0, 1),
  }
  for path, (name, colour, right, of) in lists.items():
    other = "green" if colour == "red" else "red"
    good, bad = pair(name, colour, other), pair(name, other, colour)
    write_json(tmp_path / "data" / path, [good] * right + [bad] * (of - right))
  return tmp_path


def test_vl_checklist_by_hand(make_model, checklist):
  result = composition.vl_checklist(make_model(table=TABLE), checklist)
  assert rates.measured(result) == {
    "attribute_action": 0.5,
    "attribute_color": 0.5,
    "attribute": 0.5,
    # vg's two lists first, then swig's with it; 2 / 3 would be all at once.
    "object_location_mid": 0.75,
    "object_size_small": 0.25,
    "object": 0.5,
    "relation_action": 1.0,
    "relation_spatial": 0.0,
    "relation": 0.5,
  }


def test_a_part_of_vl_checklist_will_do(make_model, checklist):
  for name in ("Attribute", "Object"):
    for path in (checklist / "data" / name).rglob("*.json"):
      path.unlink()
  result = composition.vl_checklist(make_model(table=TABLE), checklist)
  assert list(rates.measured(result)) == [
    "relation_action",
    "relation_spatial",
    "relation",
  ]


@pytest.mark.parametrize(
  ("content", "match"),
  [
    ({}, "not a list of records"),
    ([], "not a list of records"),
    ([["a.jpg", {"POS": [], "NEG": ["x"]}]], "record number 0 is not an image"),
    ([["a.jpg", {"POS": ["x"]}]], "record number 0 is not an image"),
    (
      [pair("VG_100K/2.jpg", "red", "blue"), 3],
      "record number 1 is not an image",
    ),
    (
      [pair("/etc/passwd", "red", "blue")],
      "record number 0: .*not a file inside",
    ),
  ],
)
def test_damaged_records_of_vl_checklist(make_model, checklist, content, match):
  write_json(checklist / "data" / "Relation" / "vg" / "spatial.json", content)
  with pytest.raises(ValueError, match=rf"spatial\.json: {match}"):
    composition.vl_checklist(make_model(table=TABLE), checklist)


def test_what_vl_checklist_lacks_is_told(make_model, checklist, tmp_path):
  model = make_model(table=TABLE)
  (checklist / "swig" / "dialing_8.jpg").unlink()
  with pytest.raises(MissingData, match=r"vl_checklist.*lacks\n.*dialing_8"):
    composition.vl_checklist(model, checklist)
  write_json(checklist / "data" / "Relation" / "other.json", [])
  with pytest.raises(ValueError, match=r"other\.json: not a list of VL-Check"):
    composition.vl_checklist(model, checklist)
  with pytest.raises(MissingData, match=r"lacks\n.*nowhere/data\n"):
    composition.vl_checklist(model, tmp_path / "nowhere")
  (tmp_path / "empty" / "data").mkdir(parents=True)
  with pytest.raises(MissingData, match=r"lacks\n.*empty/data/\*\.json\n"):
    composition.vl_checklist(model, tmp_path / "empty")


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_accuracy_in_batches(make_model, monkeypatch, hyperbolic):
  monkeypatch.setattr(composition, "BATCH", 3)
  model = make_model(hyperbolic)
  rng = np.random.default_rng(0)
  image, true, false = (
    model.lift(rng.normal(size=(10, 4)).astype(np.float32)) for _ in range(3)
  )
  expected = [
    model.similarity(image[i : i + 1], true[i : i + 1]).item()
    > model.similarity(image[i : i + 1], false[i : i + 1]).item()
    for i in range(10)
  ]
  assert 0 < np.mean(expected) < 1
  result = composition.accuracy(model, image, true, false)
  assert result == np.mean(expected)


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_collapsed_model_scores_nothing(make_model, value):
  x = np.full((5, 3), value, np.float32)
  assert composition.accuracy(make_model(), x, x, x) == 0.0


def test_pairs_of_a_bad_image_are_left_out(make_model, crepe):
  path = crepe / "val2017" / "000000000285.jpg"
  path.write_bytes(b"nothing")
  result = composition.sugar_crepe(make_model(table=TABLE), crepe)
  assert (result["swap_att"], result["swap_obj"]) == (1.0, 0.5)
  assert result["pairs"] == 13
  assert list(result["left_out"]) == [str(path)]
