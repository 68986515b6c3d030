"""Gaussians as rows: against the official code, and against their meaning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import gaussian, spaces
from hyperclip_jax.geometry import space as space_lib
from hyperclip_jax.geometry.gaussian import Gaussian
from tests import golden_files

# (eps, slope): of the class, of pre-training, of LongProLIP; and the exact one.
SETTINGS = [(-10.0, 1e3), (-20.0, 1e3), (-100.0, 10.0), (0.0, 1e3)]


@pytest.fixture(scope="module")
def golden():
  return golden_files.arrays("prolip/inference")


def rows(count, dim=6, seed=0, low=-3.0, high=2.0):
  rng = np.random.default_rng(seed)
  mean = rng.normal(size=(count, dim))
  mean /= np.linalg.norm(mean, axis=1, keepdims=True)
  return gaussian.join(mean, rng.uniform(low, high, (count, dim)))


def assert_relative(found, wanted, tolerance=1e-12):
  atol = tolerance * np.abs(wanted).max()
  np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


def test_pairs_equal_official(golden):
  image, text = (
    gaussian.join(golden[f"{name}_mean"], golden[f"{name}_l"])
    for name in ("image", "pairs/text")
  )
  space = Gaussian()
  u = [space.uncertainty(x) for x in (image, text)]
  assert_relative(
    space.by("cosine").pairwise(image, text), golden["pairs/cosine"]
  )
  # Official scores leave out the uncertainty of what is asked for.
  i2t = space.pairwise(image, text) + u[0][:, None] / 2
  assert_relative(i2t, golden["pairs/i2t"])
  t2i = space.pairwise(text, image) + u[1][:, None] / 2
  assert_relative(t2i, golden["pairs/t2i"])
  assert_relative(u[0][:, None] + u[1], golden["pairs/u_sum"])
  csd = gaussian.csd(image[:, None], text[None])
  assert_relative(csd, golden["pairs/csd"])
  h = gaussian.log_included(image[:, None], text[None], form="reference")
  assert_relative(h.sum(-1), golden["pairs/h_image_in_text_sum"])
  h = gaussian.log_included(text[:, None], image[None], form="reference")
  assert_relative(h.sum(-1), golden["pairs/h_text_in_image_sum"])
  orders = {"i2t": (image, text), "t2i": (text, image)}
  for name, (x, y) in orders.items():
    order = np.argsort(-space.pairwise(x, y), axis=1, kind="stable")
    np.testing.assert_array_equal(order, golden[f"retrieval/{name}_order"])


def test_classes_equal_official(golden):
  templates = gaussian.join(golden["template_mean"], golden["template_l"])
  found = Gaussian().mean(templates.swapaxes(0, 1))
  assert_relative(gaussian.means(found), golden["classifier/mean"])
  assert_relative(np.exp(gaussian.log_vars(found)), golden["classifier/var"])
  image = gaussian.join(golden["image_mean"], golden["image_l"])
  u = Gaussian().uncertainty(image)
  assert_relative(u, golden["uncertainty/image"])
  scores = 100 * Gaussian().pairwise(image, found)
  assert_relative(scores + 50 * u[:, None], golden["zero_shot/score_unc"])
  cosines = 100 * Gaussian("cosine").pairwise(image, found)
  assert_relative(cosines, golden["zero_shot/score"])


def test_csd_is_the_expected_squared_distance():
  x, y = rows(1, 3), rows(1, 3, seed=1)
  rng = np.random.default_rng(0)
  samples = [
    gaussian.means(row)
    + np.exp(gaussian.log_vars(row) / 2) * rng.normal(size=(400_000, 3))
    for row in (x, y)
  ]
  squares = ((samples[0] - samples[1]) ** 2).sum(axis=1)
  error = squares.std() / len(squares) ** 0.5
  assert abs(squares.mean() - gaussian.csd(x, y)[0]) < 4 * error


def test_exact_inclusion_is_the_integral():
  x, y = rows(4, 3), rows(4, 3, seed=1)
  grid = np.linspace(-40, 40, 200_001)

  def density(row):
    mean, var = gaussian.means(row), np.exp(gaussian.log_vars(row))
    apart = grid - mean[..., None]
    return np.exp(-(apart**2) / (2 * var[..., None])) / np.sqrt(
      2 * np.pi * var[..., None]
    )

  p, q = density(x), density(y)
  integrals = [(p**2 * q).sum(-1), (q**2 * p).sum(-1)]
  forward, backward = np.log(np.array(integrals) * (grid[1] - grid[0]))
  np.testing.assert_allclose(gaussian.log_included(x, y), forward, rtol=1e-10)
  test = gaussian.inclusion(y, x)
  np.testing.assert_allclose(test, forward - backward, rtol=1e-9, atol=1e-9)
  np.testing.assert_allclose(
    Gaussian().entailment_score(y, x), -test.sum(axis=1), rtol=1e-12
  )


@pytest.mark.parametrize("form", ["exact", "reference"])
@pytest.mark.parametrize("eps", [0.0, -10.0])
def test_inclusion_is_the_difference_and_antisymmetric(form, eps):
  x, y = rows(5), rows(5, seed=1)
  test = gaussian.inclusion(y, x, eps, form)
  forward = gaussian.log_included(x, y, eps, form)
  backward = gaussian.log_included(y, x, eps, form)
  assert_relative(test, forward - backward)
  np.testing.assert_allclose(test, -gaussian.inclusion(x, y, eps, form))
  assert not gaussian.inclusion(x, x, eps, form).any()


@pytest.mark.parametrize("form", ["exact", "reference"])
@pytest.mark.parametrize(("eps", "slope"), SETTINGS)
def test_inclusion_is_finite_in_float32(form, eps, slope):
  """On the specification's grid, where the official formula gives NaN."""
  grid = np.linspace(-60, 60, 41, dtype=np.float32)
  a, b = (np.ravel(x)[:, None] for x in np.meshgrid(grid, grid))
  x, y = (gaussian.join(0 * v + m, v) for v, m in ((a, 0.7), (b, -0.7)))

  def loss(x, y):
    return jax.nn.softplus(-slope * gaussian.inclusion(y, x, eps, form)).sum()

  found = jax.value_and_grad(loss, (0, 1))(*map(jnp.float32, (x, y)))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found))


def test_divergence():
  x = rows(3)
  mean, var = gaussian.means(x), np.exp(gaussian.log_vars(x))
  closed = np.log(1 / np.sqrt(var)) + (var + mean**2) / 2 - 0.5
  np.testing.assert_allclose(gaussian.divergence(x), closed, rtol=1e-12)
  half = gaussian.join(mean, gaussian.log_vars(x) / 2)
  np.testing.assert_allclose(
    gaussian.divergence(x, "reference"), gaussian.divergence(half)
  )
  standard = gaussian.join(mean, 0 * mean)
  assert gaussian.divergence(standard).mean() == pytest.approx(1 / (2 * 6))


def test_merging_keeps_the_moments_of_the_mixture():
  x = rows(4)
  rng = np.random.default_rng(0)
  which = rng.integers(0, 4, 400_000)
  std = np.exp(gaussian.log_vars(x) / 2)
  samples = gaussian.means(x)[which] + std[which] * rng.normal(
    size=(len(which), 6)
  )
  merged = gaussian.merge(x)
  np.testing.assert_allclose(
    gaussian.means(merged), samples.mean(axis=0), atol=0.02
  )
  np.testing.assert_allclose(
    np.exp(gaussian.log_vars(merged)), samples.var(axis=0), rtol=0.02
  )
  np.testing.assert_allclose(gaussian.merge(x[:1]), x[0], rtol=1e-12)


METHODS = {
  "lift": lambda space, x, y: space.lift(2 * x),
  "mean": lambda space, x, y: space.mean([x, y]),
  "root": lambda space, x, y: space.root(x),
  "pairs": lambda space, x, y: space.pairs(x, y),
  "one": lambda space, x, y: space.pairs(x[:1], y),
  "pairwise": lambda space, x, y: space.pairwise(x, y),
  "similarity": lambda space, x, y: space.similarity(x, y),
  "keys": lambda space, x, y: space.keys(x),
  "queries": lambda space, x, y: space.queries(y),
  "distance": lambda space, x, y: space.distance(x, y),
  "path": lambda space, x, y: space.path(x[0], y[0], np.r_[0:1:5j]),
  "inclusion": lambda space, x, y: space.inclusion(x, y),
  "entailment_score": lambda space, x, y: space.entailment_score(x, y),
  "uncertainty": lambda space, x, y: space.uncertainty(x),
}


@jax.jit
def _all_methods(space, x, y):
  return {name: method(space, x, y) for name, method in METHODS.items()}


@pytest.mark.parametrize("score", gaussian.SCORES)
def test_both_backends_agree(score, monkeypatch):
  monkeypatch.setattr(space_lib, "BLOCK", 20)
  space, x, y = Gaussian(score), rows(7), rows(7, seed=1)
  assert isinstance(space, spaces.Space)
  with jax.enable_x64(True):
    compiled = jax.device_get(_all_methods(space, x, y))
  for name, wanted in compiled.items():
    found = METHODS[name](space, x, y)
    assert type(found) is np.ndarray
    assert found.dtype == np.float64
    assert_relative(found, wanted)


@pytest.mark.parametrize("score", gaussian.SCORES)
def test_scores_are_inner_products_and_rank_as_nearness(score):
  space, x, y = Gaussian(score), rows(9), rows(8, seed=1)
  near = space.pairwise(x, y)
  np.testing.assert_allclose(space.keys(x) @ space.queries(y).T, near)
  np.testing.assert_allclose(space.queries(x) @ space.keys(y).T, near)
  np.testing.assert_array_equal(space.keys(x)[:, :12], x)  # as `Index` has it
  np.testing.assert_allclose(space.pairs(x[:8], y), np.diagonal(near))
  distance = space.distance(x[:1], y)
  np.testing.assert_allclose(
    1 - space.pairs(x[:1], y), distance / (2 if score == "csd" else 1)
  )


@pytest.mark.parametrize("score", gaussian.SCORES)
def test_files_know_it(score):
  space = Gaussian(score)
  described = spaces.to_json(space)
  assert described == {"name": "gaussian", "score": score}
  assert spaces.from_json(described) == space
  with pytest.raises(ValueError, match="score is dot: expected one of csd"):
    spaces.from_json(described | {"score": "dot"})


def test_a_path_stays_on_the_sphere_and_joins_its_ends():
  x, y = rows(2)
  found = Gaussian().path(x, y, np.r_[0:1:5j])
  np.testing.assert_allclose(found[[0, -1]], [x, y])
  lengths = np.linalg.norm(gaussian.means(found), axis=1)
  np.testing.assert_allclose(lengths, 1)


def test_there_are_no_cones_nor_other_scores():
  space, x = Gaussian(), rows(2)
  with pytest.raises(TypeError, match="no entailment cones"):
    space.half_aperture(x)
  with pytest.raises(TypeError, match="no entailment cones"):
    space.exterior_angle(x, x)
  with pytest.raises(TypeError, match="no entailment cones"):
    space.cone_margin(x, x)
  with pytest.raises(ValueError, match="one of csd, cosine, found 'dot'"):
    Gaussian("dot")


def test_gradients_are_finite_at_a_mean_of_zero():
  def total(x):
    return Gaussian().lift(x).sum()

  found = jax.grad(total)(jnp.zeros((2, 6)))
  assert np.isfinite(found).all()
