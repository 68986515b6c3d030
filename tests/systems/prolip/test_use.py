"""ProLIP in use: rows of Gaussians, a tokenizer of its own, releases."""

import copy
import dataclasses
import json
import shutil

import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax.checkpoints import release
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.inference import bprw, templates
from tests.data.feed import pieces
from tests.systems.prolip import golden

TEXTS = ["a red circle", "a thing", "the large blue star on a small square"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("prolip")


@pytest.fixture(scope="module")
def model(folder):
  """The mini model with a tokenizer of its own kind."""
  o, variables = golden.model()
  o = dataclasses.replace(o, tokenizer=str(pieces.write(folder)))
  return hyperclip_jax.HyperCLIP("prolip", o, variables)


@pytest.fixture(scope="module")
def pictures():
  rng = np.random.default_rng(0)
  return rng.integers(0, 255, (3, 40, 40, 3), np.uint8)


def test_embeddings_are_gaussians(model, pictures):
  for rows in (model.encode_text(TEXTS), model.encode_image(pictures)):
    assert rows.shape == (3, 2 * 32)
    lengths = np.linalg.norm(gaussian.means(rows), axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-6)
    u = model.space.uncertainty(rows)
    np.testing.assert_allclose(u, np.exp(model.space.log_var(rows)).sum(axis=1))


def test_similarity_by_either_score(model, pictures):
  x, y = model.encode_image(pictures), model.encode_text(TEXTS)
  cosines = model.space.by("cosine").similarity(x, y)
  means = [gaussian.means(rows.astype(np.float64)) for rows in (x, y)]
  np.testing.assert_allclose(cosines, means[0] @ means[1].T)
  u = [model.space.uncertainty(rows) for rows in (x, y)]
  wanted = cosines - (u[0][:, None] + u[1]) / 2
  np.testing.assert_allclose(model.similarity(x, y), wanted)


def test_search_by_either_score(model, pictures):
  rows = model.encode_image(pictures)
  index = model.index_texts(TEXTS)
  (hits, *_) = model.search(rows, index, k=3)
  wanted = np.sort(model.similarity(rows, index.embeddings)[0])[::-1]
  np.testing.assert_allclose([hit.score for hit in hits], wanted, rtol=1e-6)
  other = copy.copy(model)
  other.space = model.space.by("cosine")
  with pytest.raises(ValueError, match="the index is another model's"):
    other.search(rows, index)
  (hits, *_) = other.search(rows, other.index_texts(TEXTS), k=3)
  wanted = np.sort(other.similarity(rows, index.embeddings)[0])[::-1]
  np.testing.assert_allclose([hit.score for hit in hits], wanted, rtol=1e-6)
  names = ["circle", "star"]
  found = other.classify(pictures, names).probabilities
  assert np.any(found != model.classify(pictures, names).probabilities)


def test_inclusion_is_the_entailment_score(model):
  x, y = model.encode_text(TEXTS), model.encode_text(TEXTS[::-1])
  found = model.entailment_score(x, y)
  np.testing.assert_allclose(found, -model.space.inclusion(x, y), rtol=1e-5)


def test_padding_is_read_so_texts_do_not_depend_on_their_neighbours(model):
  together = model.encode_text(TEXTS * 20)
  alone = np.concatenate([model.encode_text(text) for text in TEXTS])
  np.testing.assert_allclose(together[:3], alone, rtol=1e-4, atol=1e-5)


def test_long_texts_are_cut_with_a_warning_and_others_are_not(model):
  fitting = " ".join(["red"] * 15)  # and the end token
  model.encode_text(fitting)
  with pytest.warns(UserWarning, match="1 of 2 texts are longer than the 16"):
    model.encode_text([fitting, fitting + " red"])


def test_a_release_holds_the_tokenizer(model, folder, tmp_path, pictures):
  model.save_pretrained(tmp_path / "release")
  described = json.loads((tmp_path / "release/model.json").read_text())
  assert described["options"]["tokenizer"] == "tokenizer.json"
  shutil.move(tmp_path / "release", tmp_path / "moved")
  found = hyperclip_jax.load(tmp_path / "moved")
  np.testing.assert_array_equal(
    found.encode_text(TEXTS), model.encode_text(TEXTS)
  )
  assert found.fingerprint == model.fingerprint
  found.save_pretrained(tmp_path / "moved")  # onto itself
  assert hyperclip_jax.load(tmp_path / "moved").encode_text("red").any()


def test_a_tokenizer_that_is_lost_is_missed_by_texts_alone(
  model, tmp_path, pictures
):
  model.save_pretrained(tmp_path)
  (tmp_path / "tokenizer.json").unlink()
  found = hyperclip_jax.load(tmp_path)
  assert found.encode_image(pictures).any()
  with pytest.raises(FileNotFoundError, match=r"tokenizer\.json"):
    found.encode_text("red")


@pytest.mark.parametrize("value", ["/etc/passwd", "../tokenizer.json"])
def test_a_release_cannot_name_files_elsewhere(value, model, tmp_path):
  model.save_pretrained(tmp_path)
  path = tmp_path / release.MODEL_FILE
  described = json.loads(path.read_text())
  described["options"]["tokenizer"] = value
  path.write_text(json.dumps(described))
  (tmp_path / "tokenizer.json").unlink()
  with pytest.raises(ValueError, match=r"tokenizer must be 'tokenizer\.json'"):
    hyperclip_jax.load(tmp_path)


def test_classes_by_weighed_templates(model, pictures):
  names, forms = ["circle", "square"], ["a {}", "the {} thing", "a red {}"]
  rows = templates.embeddings(model, names, forms)
  assert rows.shape == (2, 3, 64)
  pool = model.encode_image(pictures)
  settings = bprw.UNLABELLED._replace(neighbours=2)
  found = bprw.reweigh(rows, pool, settings)
  scores = model.logit_scale * model.space.pairwise(pool, found.classes)
  assert scores.shape == (3, 2)
  plain = templates.classes(rows)
  np.testing.assert_allclose(
    model.probabilities(pool, plain),
    model.classify(pictures, names, forms).probabilities,
    rtol=1e-4,
  )


def test_templates_need_gaussians():
  with pytest.raises(TypeError, match="have uncertainties in the space of Gau"):
    templates.check(Sphere())
