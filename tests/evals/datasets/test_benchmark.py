"""DataComp's and SLIP's data sets in their published layout, in small."""

import dataclasses
import io
import json
import math

import numpy as np
import pytest

from hyperclip_jax.evals import benchmarks, catalog, rates
from hyperclip_jax.evals.datasets import benchmark, webdataset
from hyperclip_jax.evals.metrics import by_class
from hyperclip_jax.evals.tasks import MissingData
from hyperclip_jax.geometry.ensemble import Ensemble
from hyperclip_jax.geometry.gaussian import Gaussian
from tests.data import tars
from tests.evals import pictures
from tests.evals.pictures import BLUE, GREEN, RED

NAMES = ("red", "green", "blue")
TABLE = {
  form.format(name): tuple(np.eye(3)[i])
  for form in ("a photo of {}", "{}.")
  for i, name in enumerate(NAMES)
}


def numbers(*values):
  buffer = io.BytesIO()
  np.save(buffer, np.array(values))
  return buffer.getvalue()


def write(folder, records, names=NAMES, split="test"):
  """Writes SPLIT/N.tar of records (colour, {suffix: bytes}), two in each."""
  (folder / split).mkdir(parents=True)
  shards = [records[i : i + 2] for i in range(0, len(records), 2)]
  for number, shard in enumerate(shards):
    members = []
    for i, (colour, more) in enumerate(shard):
      key = f"s{number}{i:06d}"
      members.append((f"{key}.webp", pictures.encoded(colour, "WEBP")))
      members += [(f"{key}.{suffix}", data) for suffix, data in more.items()]
    tars.write_tar(folder / split / f"{number}.tar", members)
  (folder / split / "nshards.txt").write_text(f"{len(shards)}\n")
  (folder / "classnames.txt").write_text("\n".join(names) + "\n\n")
  (folder / "zeroshot_classification_templates.txt").write_text(
    "a photo of {c}\n{c}.\n"
  )


def labelled(*pairs):
  return [(colour, {"cls": str(label).encode()}) for colour, label in pairs]


def run(name, model, data):
  (task,) = catalog.choose(name)
  return task.run(model, data)


@pytest.fixture
def model(make_model):
  return make_model(hyperbolic=False, table=TABLE)


# Two of three reds, the green one; the wrong one is taken for blue.
RECORDS = labelled((RED, 0), (RED, 0), (BLUE, 0), (GREEN, 1))


def test_the_lists_are_those_of_the_papers():
  counts = {name: len(benchmarks.members(name)) for name in benchmarks.groups()}
  assert counts == {
    "datacomp_imagenet": 1,
    "datacomp_shifts": 6,
    "datacomp_vtab": 13,
    "datacomp_retrieval": 3,
    "datacomp": 38,
    "slip": 26,
    "rocket": 23,
  }
  names = [data_set.name for data_set in benchmarks.data_sets()]
  assert len({*names}) == len(names) == 43
  assert [task.name for task in catalog.choose("datacomp,slip")] == names
  slip, rocket = (
    {d.name for d in benchmarks.members(group)} for group in ("slip", "rocket")
  )
  assert slip - rocket == {
    *("wds_sun397", "wds_fer2013", "wds_kinetics700_frames")
  }
  assert rocket < slip
  metrics = {d.name: d.metric for d in benchmarks.data_sets()}
  assert metrics["wds_fgvc_aircraft"] == "mean_per_class"
  assert metrics["wds_hateful_memes"] == "auroc"
  assert metrics["wds_dollar_street"] == "worst_group_top5"


@pytest.mark.parametrize("name", ["wds_cars", "wds_cars_test"])
def test_accuracy_is_over_images_or_classes(model, tmp_path, name, caplog):
  write(tmp_path / name, RECORDS)
  found = run("wds_cars", model, tmp_path)
  assert found["accuracy"] == 0.75
  assert found["accuracy_se"] == pytest.approx((0.75 * 0.25 / 4) ** 0.5)
  assert found["accuracy_chance"] == pytest.approx(1 / 3)
  assert found["mean_per_class"] == pytest.approx((2 / 3 + 1) / 2)
  assert (found["images"], found["classes"]) == (4, 3)
  assert "4 images, not 8041 as published" in caplog.text


def test_metrics_of_their_own(model, tmp_path):
  write(tmp_path / "wds_wilds-iwildcam", RECORDS)
  found = run("wds_wilds-iwildcam", model, tmp_path)
  assert found["macro_f1"] == pytest.approx((4 / 5 + 1) / 2)
  grouped = [
    (colour, more | {"npy": numbers(group, 7)})
    for (colour, more), group in zip(RECORDS, (3, 3, 3, 0), strict=True)
  ]
  write(tmp_path / "wds_geode", grouped)
  assert run("wds_geode", model, tmp_path)["worst_group"] == pytest.approx(
    2 / 3
  )
  write(tmp_path / "wds_dollar_street", grouped)
  assert run("wds_dollar_street", model, tmp_path)["worst_group_top5"] == 1
  write(tmp_path / "wds_kinetics700_frames", RECORDS)
  found = run("wds_kinetics700_frames", model, tmp_path)
  assert found["top1_top5"] == pytest.approx((0.75 + 1) / 2)
  memes = labelled((RED, 0), (GREEN, 1), (RED, 1), (GREEN, 1))
  write(tmp_path / "wds_hateful_memes", memes, NAMES[:2])
  found = run("wds_hateful_memes", model, tmp_path)
  assert found["auroc"] == pytest.approx((1 + 0.5 + 1) / 3)


def test_scores_of_an_ensemble(make_model, tmp_path):
  """z knows red from green, h does not; images have three numbers each."""
  table = {text: (*row[:2], 1.0, 1.0) for text, row in TABLE.items()}
  model = make_model(table=table)
  model = dataclasses.replace(model, space=Ensemble(0.5))
  model.encode_image = lambda images, lift=True: model.lift(
    np.array([(*i[0, 0, :2], 1, 1) for i in images], np.float32)
  )
  write(tmp_path / "wds_cars", labelled((RED, 0), (GREEN, 1)), NAMES[:2])
  found = run("wds_cars", model, tmp_path)
  assert (found["accuracy_z"], found["accuracy_h"]) == (1, 0.5)
  assert found["accuracy"] == found["accuracy_w0.9"] == 1


def gaussian_model(make_model):
  """Means are colours; log variances are 0 for colours and -9 for "."."""
  table = {
    text: (*row, *((-9.0,) * 3 if text.endswith(".") else (0.0,) * 3))
    for text, row in TABLE.items()
  }
  model = dataclasses.replace(make_model(table=table), space=Gaussian())
  model.encode_image = lambda images, lift=True: model.lift(
    np.array([(*i[0, 0] / 255, -9, -9, -9) for i in images], np.float32)
  )
  return model


def test_gaussians_are_scored_in_both_ways_with_chosen_prompts(
  make_model, tmp_path
):
  model = gaussian_model(make_model)
  folder = tmp_path / "wds_cars"
  write(folder, RECORDS)
  found = rates.measured(run("wds_cars", model, tmp_path))
  assert found["accuracy"] == found["accuracy_cosine"] == 0.75
  assert found["prompts/lowest_half_accuracy_cosine"] == 0.75
  assert not any("train" in name for name in found)
  shades = [tuple(min(x, 200) for x in c) for c in (RED, GREEN, BLUE)]
  write(
    folder, labelled(*zip(shades, range(3), strict=True)) * 5, split="train"
  )
  found = rates.measured(run("wds_cars", model, tmp_path))
  rules = ("most_accurate", "few_shot", "unlabelled")
  assert [
    name
    for name in found
    if name.startswith("prompts/") and "train" in name
    if name.endswith("cosine")
  ] == [f"prompts/{rule}_by_train_accuracy_cosine" for rule in rules]


def test_a_pool_that_is_the_test_set_is_warned_of(make_model, tmp_path):
  folder = tmp_path / "wds_cars"
  write(folder, labelled(*[(RED, 0), (GREEN, 1), (BLUE, 2)] * 5))
  (folder / "train").symlink_to(folder / "test")
  with pytest.warns(UserWarning, match="15 of the 15 images of the pool"):
    run("wds_cars", gaussian_model(make_model), tmp_path)


def test_retrieval(make_model, tmp_path):
  table = {"red": (1, 0, 0), "crimson": (0.9, 0.1, 0), "green": (0, 1, 0)}
  model = make_model(hyperbolic=False, table=table)
  folder = tmp_path / "wds_flickr30k"
  write(
    folder,
    [(RED, {"txt": b"red\n\ncrimson\n"}), (GREEN, {"txt": b"red\ngreen"})],
  )
  found = run("wds_flickr30k", model, tmp_path)
  assert (found["images"], found["texts"]) == (2, 4)
  assert found["mean_r1"] == (found["i2t_r1"] + found["t2i_r1"]) / 2
  assert found["t2i_r1"] == 0.75  # Green's "red" finds the red image.


def test_associations(make_model, tmp_path):
  table = {"A berry": (1, 0, 0), "An apple": (0.6, 0.8, 0)}
  model = make_model(hyperbolic=False, table=table)
  folder = tmp_path / "winogavil" / "assets"
  for name, colour in (("r", RED), ("g", GREEN), ("b", BLUE)):
    pictures.write(folder / "images" / f"{name}.png", colour)
  rows = ["candidates,cue,associations"]
  for cue, wanted in (("Berry", ["r"]), ("apple", ["g", "b"])):
    lists = [
      json.dumps(x).replace('"', '""') for x in (["r", "g", "b"], wanted)
    ]
    rows.append(f'"{lists[0]}",{cue},"{lists[1]}"')
  for size in ("5_6", "10_12"):
    (folder / f"game_{size}.csv").write_text("\n".join(rows) + "\n")
  found = run("winogavil", model, tmp_path)
  # The second game chooses red and green, of which green is right.
  assert found["jaccard_10_12"] == pytest.approx((1 + 1 / 3) / 2)
  (folder / "game_5_6.csv").write_text(rows[0] + '\n"[""r""]",x,"[""q""]"\n')
  with pytest.raises(ValueError, match=r"5_6\.csv: line 2: the associations"):
    run("winogavil", model, tmp_path)


def test_image_folders_serve_too(model, tmp_path):
  folder = tmp_path / "wds_cub200"
  write(folder, [])
  for name, colour in (("a", RED), ("b", GREEN), ("c", RED)):
    pictures.write(folder / "test" / name / "1.png", colour)
  assert run("wds_cub200", model, tmp_path)["accuracy"] == pytest.approx(2 / 3)


def test_damage_is_named(model, tmp_path):
  folder = tmp_path / "wds_cars"
  write(folder, RECORDS)
  (folder / "test" / "nshards.txt").write_text("3")
  with pytest.raises(ValueError, match=r"nshards\.txt says 3, but there are 2"):
    run("wds_cars", model, tmp_path)
  (folder / "test" / "nshards.txt").unlink()
  (folder / webdataset.NAMES).write_text("red\n")
  with pytest.raises(ValueError, match=r"class 1, but classnames\.txt lists 1"):
    run("wds_cars", model, tmp_path)
  (folder / webdataset.TEMPLATES).write_text("a photo of {}\n")
  with pytest.raises(ValueError, match=r"templates\.txt: .* must have \{c\}"):
    run("wds_cars", model, tmp_path)
  for number, npy in enumerate((b"x", numbers(0.5), numbers())):
    data = tmp_path / str(number)
    write(data / "wds_geode", [(RED, {"cls": b"0", "npy": npy})])
    with pytest.raises(ValueError, match="npy does not begin with a group"):
      run("wds_geode", model, data)
  write(tmp_path / "wds_geode", RECORDS)
  with pytest.raises(ValueError, match=r"has cls, webp; expected an image"):
    run("wds_geode", model, tmp_path)
  with pytest.raises(MissingData, match="clip_benchmark_export_wds"):
    run("wds_food101", model, tmp_path)


def test_a_bad_image_is_left_out(model, tmp_path):
  folder = tmp_path / "wds_cars"
  write(folder, RECORDS[:2])
  bad = [("s9.jpg", b"no image"), ("s9.cls", b"1")]
  tars.write_tar(folder / "test" / "1.tar", bad)
  (folder / "test" / "nshards.txt").unlink()
  found = run("wds_cars", model, tmp_path)
  assert found["accuracy"] == 1
  ((name, reason),) = found["left_out"].items()  # type: ignore
  assert "s9" in name
  assert "cannot decode" in reason


def test_means_are_of_whole_groups():
  values = {
    d.name: {d.metric: 0.5, f"{d.metric}_cosine": 0.25}
    for d in benchmarks.data_sets()
  }
  found = benchmarks.means(values)
  assert found["datacomp"] == ("All 38 of DataComp", 0.5, 38, 38)
  assert found["datacomp_vtab_cosine"].value == 0.25
  assert found["datacomp_vtab_cosine"].title == "VTAB, by cosine"
  del values["wds_mnist"]
  found = benchmarks.means(values)
  assert math.isnan(found["datacomp"].value)
  assert found["datacomp"].measured == 37
  assert found["datacomp_vtab"].value == 0.5
  assert benchmarks.means({"coco": {"i2t_r1": 1.0}}) == {}


def test_f1_and_groups_by_hand():
  labels = np.array([0, 0, 1, 4])
  predicted = np.array([0, 2, 1, 1])
  found = by_class.macro_f1(predicted, labels)
  assert found == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
  right = np.array([True, False, True])
  assert by_class.worst_group(right, np.array([5, 5, -1])) == 0.5
  assert by_class.jaccard(right, np.array([True, True, True])) == 2 / 3


def test_every_kind_has_a_task():
  assert {d.kind for d in benchmarks.data_sets()} == {*benchmark.RUNS}
