"""A loaded model encodes, compares and scores."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hyperclip_jax import HyperCLIP
from hyperclip_jax.data import images as image_lib
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
