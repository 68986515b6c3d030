"""A loaded model encodes, compares and scores."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hyperclip_jax import HyperCLIP, Index
from hyperclip_jax.data import images as image_lib
from hyperclip_jax.evals import encoding
from hyperclip_jax.evals.zero_shot import class_embeddings
from tests import golden_files


@pytest.fixture(scope="module", params=golden_files.OBJECTIVES)
def model(request):
  module, params = golden_files.model(request.param)
  return HyperCLIP(request.param, module, params, image_size=32, batch_size=4)


def pictures(count=6, height=40, width=50):
  rng = np.random.default_rng(0)
  return list(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_paths_images_and_arrays_are_the_same(model, tmp_path):
  array = pictures(1)[0]
  Image.fromarray(array).save(tmp_path / "a.png")
  found = model.encode_image(
    [array, Image.fromarray(array), tmp_path / "a.png", f"{tmp_path}/a.png"]
  )
  assert found.shape == (4, 32)
  np.testing.assert_array_equal(found, np.broadcast_to(found[0], (4, 32)))
  np.testing.assert_array_equal(model.encode_image(array), found[:1])


def test_an_array_of_images_is_many(model):
  arrays = pictures(3)
  found = model.encode_image(np.stack(arrays))
  np.testing.assert_array_equal(found, model.encode_image(arrays))
  index = model.index_images(arrays)
  assert len(model.search(np.stack(arrays), index, 1)) == 3


def test_threads_read_files(model, tmp_path, monkeypatch):
  paths = [tmp_path / f"{i}.png" for i in range(6)]
  for path, array in zip(paths, pictures(), strict=True):
    Image.fromarray(array).save(path)
  wanted = model.encode_image(pictures())
  together = threading.Barrier(2)
  decode = encoding.decode_file

  def slow(path):
    together.wait(timeout=10)
    return decode(path)

  monkeypatch.setattr(encoding, "THREADS", 2)
  monkeypatch.setattr(encoding, "decode_file", slow)
  np.testing.assert_array_equal(model.encode_image(paths), wanted)


def test_transparency_is_white_from_a_file_or_not(model, tmp_path):
  colours = np.dstack([pictures(1)[0], np.zeros((40, 50), np.uint8)])
  clear = Image.fromarray(colours)
  clear.save(tmp_path / "a.png")
  found = model.encode_image([clear, tmp_path / "a.png"])
  white = model.encode_image(np.full((40, 50, 3), 255, np.uint8))
  np.testing.assert_array_equal(found, np.broadcast_to(white, found.shape))


@pytest.mark.parametrize(
  "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_arrays_that_are_no_images_are_told(model, array):
  with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\); found"):
    model.encode_image(array)


def test_a_file_that_is_no_image_is_named(model, tmp_path):
  (tmp_path / "notes.txt").write_text("milk")
  with pytest.raises(ValueError, match=r"notes\.txt: .*none of JPEG") as error:
    model.encode_image(tmp_path / "notes.txt")
  assert "BytesIO" not in str(error.value)


def test_encoding_is_the_models_own(model):
  arrays = pictures()
  squares = np.stack([image_lib.center_square(a, 32) for a in arrays])
  wanted = model.model.apply(
    {"params": model.params},
    jnp.asarray(squares, jnp.float32) / 255,
    method="encode_image",
  )
  np.testing.assert_allclose(
    model.encode_image(arrays, lift=False), wanted, atol=1e-5
  )
  np.testing.assert_allclose(
    model.encode_image(arrays), model.lift(np.asarray(wanted)), atol=1e-5
  )


def test_padding_of_the_last_batch_does_not_show(model):
  texts = ["a cat", "a dog on a mat", "an owl", "one", "two", "three"]
  whole = model.encode_text(texts)
  alone = np.concatenate([model.encode_text(text) for text in texts])
  np.testing.assert_allclose(whole, alone, atol=1e-5)


def test_nothing_in_gives_nothing_out(model):
  assert model.encode_image([]).shape == (0, 32)
  assert model.encode_text([]).shape == (0, 32)


def test_similarity_orders_by_nearness(model):
  x = model.encode_image(pictures())
  scores = model.similarity(x, x)
  assert (scores.argmax(axis=1) == np.arange(len(x))).all()
  assert scores.shape == (6, 6)


def test_entailment_is_inside_the_cone(model):
  if not model.hyperbolic:
    pytest.skip("CLIP has no cones")
  tangents = model.encode_text(["a cat"], lift=False)
  general, specific = model.lift(tangents), model.lift(1.5 * tangents)
  assert model.entailment_score(general, specific)[0] < 0
  assert model.entailment_score(specific, general)[0] > 0
  distances = model.distance_to_root(np.concatenate([general, specific]))
  assert distances[1] / distances[0] == pytest.approx(1.5, rel=1e-5)


def test_clip_scores_are_cosines():
  module, params = golden_files.model("clip")
  model = HyperCLIP("clip", module, params, image_size=32)
  x = model.encode_image(pictures())
  np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-6)
  np.testing.assert_allclose(model.entailment_score(x, x), -1, rtol=1e-5)


def test_classify_is_the_softmax_of_training(model):
  labels, images = ["cat", "dog", "red circle"], pictures(5)
  found = model.classify(images, labels, ["a {}.", "{}"])
  classes = class_embeddings(model, labels, ["a {}.", "{}"])
  x = model.encode_image(images)
  near = model.similarity(x, classes)
  if model.hyperbolic:  # -<x, y> = cosh(sqrt(c) d) / c
    near = -np.arccosh(-model.curv * near.astype(float)) / model.curv**0.5
  weights = np.exp(np.exp(model.params["logit_scale"]) * near)
  wanted = weights / weights.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found.probabilities, wanted, atol=1e-4)
  best, worst = found.top(3)[0][0], found.top(3)[0][2]
  assert best == (labels[int(wanted[0].argmax())], found.probabilities[0].max())
  assert best[1] > worst[1]
  assert found.labels == labels


def test_classify_misuse_is_named(model):
  image = pictures(1)[0]
  with pytest.raises(ValueError, match="labels is empty"):
    model.classify(image, [])
  with pytest.raises(ValueError, match="templates is empty"):
    model.classify(image, ["cat"], [])
  for template in ("a photo", "{} and {}", "{name}", "{} {0}"):
    with pytest.raises(ValueError, match=r"must hold \{\} once"):
      model.classify(image, ["cat"], [template])


def test_search_takes_texts_images_and_embeddings(model, tmp_path):
  images = pictures(5)
  paths = [tmp_path / f"{i}.png" for i in range(5)]
  for path, array in zip(paths, images, strict=True):
    Image.fromarray(array).save(path)
  index = model.index_images(paths)
  assert index.names == [str(path) for path in paths]
  assert model.index_images(images).names[4] == "image 4"
  for query in (paths[3], [paths[3]], images[3], Image.open(paths[3])):
    assert model.search(query, index, 1)[0][0].name == str(paths[3])
  x = model.encode_image(images)
  assert [row[0].row for row in model.search(x, index, 2)] == [*range(5)]
  (hits,) = model.search("a cat", index, 5)
  scores = model.similarity(model.encode_text("a cat"), x)[0]
  assert [hit.row for hit in hits] == np.argsort(-scores).tolist()
  np.testing.assert_allclose(
    [hit.score for hit in hits], sorted(scores)[::-1], rtol=1e-5
  )


def test_index_of_another_model_is_refused(model):
  x = model.encode_text(["a cat"])
  wrong = Index(x, ["a cat"], 3.0)
  with pytest.raises(ValueError, match=r"another model's: 32 wide with curv 3"):
    model.search("a cat", wrong)
  with pytest.raises(ValueError, match="another model's"):
    model.traverse(pictures(1), wrong)


def test_traverse_to_the_root(model):
  images = pictures(3)
  index = model.index_images(images)
  walks = model.traverse(images, index)
  for i, walk in enumerate(walks):
    assert walk[0] == (f"image {i}", 1.0)
    assert walk[-1].name == "root"


def test_traverse_to_an_image(model):
  images = pictures(3)
  index = model.index_images(images)
  for i, walk in enumerate(model.traverse(images, index, to=images[2])):
    names = [point.name for point in walk]
    assert names[0] == f"image {i}"
    assert names[-1] == "image 2"
    assert "root" not in names
    ts = [point.t for point in walk]
    assert ts == sorted(ts, reverse=True)
    if names == [f"image {i}", "image 2"]:
      assert walk[1].t == pytest.approx(0.5, abs=0.03)  # half way
  with pytest.raises(ValueError, match="a walk of 1 steps among 3"):
    model.traverse(images, index, images[2], steps=1)


def test_long_work_shows_a_bar_on_a_terminal(model, capsys, monkeypatch):
  monkeypatch.setattr("sys.stderr.isatty", lambda: True)
  model.encode_text(["a cat"] * 8)
  assert not capsys.readouterr().err
  model.encode_text(["a cat"] * 24)
  assert "encode_text" in capsys.readouterr().err
  monkeypatch.setattr("sys.stderr.isatty", lambda: False)
  model.encode_text(["a cat"] * 24)
  assert not capsys.readouterr().err


def test_batches_of_any_number_compile_once(model, caplog):
  model.encode_image(pictures(5))
  with jax.log_compiles():
    model.encode_image(pictures(3))
    model.encode_image(pictures(9))
  assert "Compiling" not in caplog.text
