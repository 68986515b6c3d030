import csv

import numpy as np
import pytest
from scipy import stats

from hyperclip_jax.evals.datasets import hierarcaps as module
from hyperclip_jax.evals.tasks import MissingData
from tests.evals import pictures
from tests.evals.pictures import GREEN, RED

URL = "http://images.cocodataset.org/val2014/"


def chain(noun):
  return (noun, f"red {noun}", f"red {noun}, on grass", f"A red {noun}.")


def write(folder, rows):
  (folder / "data").mkdir(parents=True, exist_ok=True)
  path = folder / "data" / "hierarcaps_test.csv"
  with path.open("w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "captions", "image_url"])
    for number, (captions, name) in enumerate(rows):
      writer.writerow([number, " => ".join(captions), URL + name])


@pytest.fixture
def folder(tmp_path):
  names = [f"COCO_val2014_{n:012d}.jpg" for n in (42, 73)]
  for name, colour in zip(names, (RED, GREEN), strict=True):
    pictures.write(tmp_path / "assets" / "test_imgs" / name, colour, "JPEG")
  write(tmp_path, [(chain("cat"), names[0]), (chain("dog"), names[1])])
  return tmp_path


def table(order=(0.2, 0.4, 0.6, 0.8)):
  """Chains along two axes, general near the root, in the given order."""
  rows = {"": (0, 0, 1)}
  for axis, noun in enumerate(("cat", "dog")):
    for radius, text in zip(order, chain(noun), strict=True):
      rows[text] = tuple(radius * np.eye(3)[axis])
  return rows


def test_a_perfect_hierarchy(make_model, folder):
  result = module.hierarcaps(make_model(table=table()), folder)
  assert result == {
    "images": 2.0,
    "texts": 8.0,
    "entailment_ap": 1.0,
    "entailment_auroc": 1.0,
    "entailment_auroc_reversed": 1.0,
    "entailment_auroc_foreign": 1.0,
    "image_entailment_ap": 1.0,
    "image_entailment_auroc": 1.0,
    "precision": 1.0,
    "recall": 1.0,
    "d_corr": 1.0,
  }


def test_an_inverted_hierarchy(make_model, folder):
  result = module.hierarcaps(
    make_model(table=table((0.8, 0.6, 0.4, 0.2))), folder
  )
  assert result["entailment_auroc_reversed"] == 0.0
  assert result["d_corr"] == -1.0


def test_clip_walks_from_the_empty_caption(make_model, folder):
  rows = {"": (0, 0, 1)}
  for axis, noun in enumerate(("cat", "dog")):
    for angle, text in zip((0.3, 0.6, 0.9, 1.2), chain(noun), strict=True):
      away = np.sin(angle) * np.eye(3)[axis]
      rows[text] = tuple(away + np.cos(angle) * np.eye(3)[2])
  result = module.hierarcaps(make_model(False, rows), folder)
  assert (result["precision"], result["recall"]) == (1.0, 1.0)
  assert result["d_corr"] == 1.0
  assert result["entailment_auroc_reversed"] == 0.5


def rival_traversal(scores, radii, captions, owners):
  """The same, walked step by step."""
  texts = np.array(captions)
  precision, recall = [], []
  for image, row in enumerate(scores):
    met = []
    for radius in np.linspace(radii.min(), radii.max(), 50):
      near = radii <= radius
      met.append(texts[near][np.argmax(row[near])])
    mine = texts[owners == image]
    precision.append(np.mean([m in mine for m in set(met)]))
    recall.append(
      np.mean([any(t in met for t in mine[:, k]) for k in range(4)])
    )
  return {"precision": np.mean(precision), "recall": np.mean(recall)}


@pytest.mark.parametrize("hyperbolic", [True, False])
def test_traversal_against_a_plain_walk(make_model, monkeypatch, hyperbolic):
  monkeypatch.setattr(module, "BATCH", 4)
  rng = np.random.default_rng(0)
  model = make_model(hyperbolic)
  owners = np.array([0, 1, 2, 3, 4, 5, 0, 3, 3])
  captions = [tuple(f"{c}.{k}" for k in range(4)) for c in range(9)]
  captions[8] = ("0.0", "8.1", "7.2", "8.3")  # Shared with other chains.
  directions = rng.normal(size=(6, 1, 5)) + 0.4 * rng.normal(size=(6, 5, 5))
  x = (directions * np.array([3, 0.5, 1, 1.5, 2])[:, None]).astype(np.float32)
  x = model.lift(x.reshape(-1, 5)).reshape(6, 5, 5)
  images, chains = x[:, 0], x[owners, 1:]
  radii = np.linalg.norm(chains - 0.1, axis=2)
  scores = model.similarity(images, chains.reshape(-1, 5)).reshape(6, 9, 4)
  result = module.traversal(model, images, chains, radii, captions, owners)
  assert result == pytest.approx(
    rival_traversal(scores, radii, captions, owners)
  )
  assert 0 < result["precision"] < 1


def test_d_corr_is_kendalls_tau():
  radii = np.random.default_rng(0).random((20, 4))
  expected = [stats.kendalltau(row, range(4))[0] for row in radii]
  assert module.d_corr(radii) == pytest.approx(np.mean(expected))
  assert module.d_corr(np.ones((3, 4))) == 0.0


def test_the_official_layout_is_read(folder):
  data = module.read(folder)
  assert data.chains[0] == chain("cat")
  assert data.images[1].name == "COCO_val2014_000000000073.jpg"


@pytest.mark.parametrize(
  ("captions", "name", "match"),
  [
    (("a", "b", "c"), "x.jpg", "line 2: captions are 'a => b => c', not 4"),
    (("a", "", "c", "d"), "x.jpg", "line 2: captions are"),
    (("a", "b", "c", "d"), "..", "line 2: '..' is not a file inside"),
    (("a", "b", "c", "d"), "", "line 2: '' is not a file inside"),
  ],
)
def test_damaged_records_are_named(folder, captions, name, match):
  write(folder, [(captions, name)])
  with pytest.raises(ValueError, match=rf"hierarcaps_test\.csv: {match}"):
    module.read(folder)


def test_foreign_files_are_named(folder):
  path = folder / "data" / "hierarcaps_test.csv"
  for text, match in (
    ("", "no record"),
    ("name,size\na,3\n", "line 2: captions are None"),
    ('id,captions,image_url\n0,"a', "line 2: unexpected end"),
  ):
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"hierarcaps_test\.csv: {match}"):
      module.read(folder)


def test_what_is_missing_is_told(folder, tmp_path):
  (folder / "assets" / "test_imgs" / "COCO_val2014_000000000073.jpg").unlink()
  with pytest.raises(MissingData, match=r"hierarcaps.*lacks\n.*73\.jpg\n"):
    module.read(folder)
  with pytest.raises(MissingData, match=r"nowhere/.*_test\.csv \(2 are"):
    module.read(tmp_path / "nowhere")


def test_chains_of_a_bad_image_are_left_out(make_model, folder):
  names = [f"COCO_val2014_{n:012d}.jpg" for n in (42, 73, 99)]
  write(
    folder,
    [(chain("cat"), n) for n in names[:1]]
    + [(chain("dog"), n) for n in names[1:]],
  )
  path = folder / "assets" / "test_imgs" / names[2]
  path.write_bytes(b"nothing")
  result = module.hierarcaps(make_model(table=table()), folder)
  assert (result["images"], result["texts"]) == (2, 8)
  assert list(result["left_out"]) == [str(path)]
