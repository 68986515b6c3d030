"""The towers against the official code, stage by stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.geometry import gaussian
from hyperclip_jax.geometry.gaussian import Gaussian
from hyperclip_jax.systems import prolip
from hyperclip_jax.systems.prolip import masking, model
from hyperclip_jax.systems.task import variable_shapes
from tests.systems.prolip import golden
from tests.systems.prolip.golden import assert_relative

pytestmark = pytest.mark.usefixtures("standard_promotion")

STAGES = {"patch_embed", "norm_pre", "transformer", "norm_post", "norm"}
TOLERANCE = 1e-12


@pytest.fixture(scope="module")
def mini():
  return golden.mini()


def stages(o, variables, method, *args):
  """Outputs of the layers around the blocks, and the row."""
  found, state = model.module(o, jnp.float64).apply(
    variables,
    *args,
    method=method,
    capture_intermediates=lambda m, _: m.name in STAGES,
    mutable=["intermediates"],
  )
  (tower,) = state["intermediates"].values()
  return found, {name: x["__call__"] for name, x in tower.items()}


def of_depth(o, variables, depth):
  """The model with its first blocks alone."""
  shallow = dataclasses.replace(
    o,
    vision=dataclasses.replace(o.vision, depth=depth),
    text=dataclasses.replace(o.text, depth=depth),
  )

  def cut(path, leaf):
    names = [key.key for key in path]
    return leaf[:depth] if "blocks" in names else leaf

  return shallow, jax.tree_util.tree_map_with_path(cut, variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rand", "init"])
def test_rows_equal_official(name, mini):
  with jax.enable_x64(True):
    o, variables = golden.model(name)
    towers = model.module(o, jnp.float64)
    variables = golden.wide(variables)
    images = jnp.asarray(golden.pixels(mini)[0, :4])
    tokens = jnp.asarray(mini["tokens"][0, :4])
    image = towers.apply(variables, images, method="encode_image")
    text = towers.apply(variables, tokens, method="encode_text")
    for kind, row in (("image", image), ("text", text)):
      wanted = f"{name}/{kind}"
      assert_relative(
        gaussian.means(row), mini[f"{wanted}/mean_raw"], TOLERANCE
      )
      assert_relative(gaussian.log_vars(row), mini[f"{wanted}/l"], TOLERANCE)
      lifted = Gaussian().lift(row)
      assert_relative(gaussian.means(lifted), mini[f"{wanted}/mean"], TOLERANCE)
    keep = jnp.asarray(mini[f"{name}/image_masked/keep_indices"])
    row = towers.apply(variables, images, keep, method="encode_image")
    row = Gaussian().lift(row)
    wanted = f"{name}/image_masked"
    assert_relative(gaussian.means(row), mini[f"{wanted}/mean"], TOLERANCE)
    assert_relative(gaussian.log_vars(row), mini[f"{wanted}/l"], TOLERANCE)
    params = variables["params"]
    assert_relative(
      jnp.exp(params["logit_scale"]), mini[f"{name}/logit_scale"], 1e-12
    )
    assert_relative(params["logit_bias"], mini[f"{name}/logit_bias"], 1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rand", "init"])
def test_float32_rows_equal_official(name, mini):
  o, variables = golden.model(name)
  o = dataclasses.replace(o, dtype="float32")
  e = prolip.encoder(o)
  images = jnp.asarray(golden.pixels(mini, np.float32)[0, :4])
  tokens = jnp.asarray(mini["tokens"][0, :4])
  for kind, row in (
    ("image", e.image(variables, images)),
    ("text", e.text(variables, tokens)),
  ):
    row = Gaussian().lift(row)
    wanted = f"{name}/float32/{kind}"
    assert_relative(gaussian.means(row), mini[f"{wanted}_mean"], 2e-6)
    assert_relative(gaussian.log_vars(row), mini[f"{wanted}_l"], 2e-6)


def test_image_stages_equal_official(mini):
  with jax.enable_x64(True):
    o, variables = golden.model()
    variables = golden.wide(variables)
    images = jnp.asarray(golden.pixels(mini)[0, :4])
    _, found = stages(o, variables, "encode_image", images)
    wanted = {
      key: mini[f"rand/image/{key}"]
      for key in (
        "patch_embed",
        "ln_pre",
        "ln_post_tokens",
        "ln_post_twice_cls",
      )
    }
    (patches,) = found["patch_embed"]
    assert_relative(patches, wanted["patch_embed"], TOLERANCE)
    (before,) = found["norm_pre"]
    assert_relative(before, wanted["ln_pre"], TOLERANCE)
    own, twice = found["norm_post"]
    assert_relative(own, wanted["ln_post_tokens"][:, :2], TOLERANCE)
    assert_relative(twice, wanted["ln_post_twice_cls"], TOLERANCE)
    for depth in (1, 2):
      cut = of_depth(o, variables, depth)
      _, found = stages(*cut, "encode_image", images)
      (blocks,) = found["transformer"]
      wanted_blocks = mini[f"rand/image/block{depth - 1}"]
      assert_relative(blocks, wanted_blocks, TOLERANCE)


def test_text_stages_equal_official(mini):
  with jax.enable_x64(True):
    o, variables = golden.model()
    variables = golden.wide(variables)
    tokens = jnp.asarray(mini["tokens"][0, :4])
    for depth in (1, 2):
      cut = of_depth(o, variables, depth)
      _, found = stages(*cut, "encode_text", tokens)
      (blocks,) = found["transformer"]
      assert_relative(blocks, mini[f"rand/text/block{depth - 1}"], TOLERANCE)
    (last,) = found["norm"]
    assert_relative(last[:, 1], mini["rand/text/ln_final_cls"], TOLERANCE)
    other = dataclasses.replace(o, text_unc_readout="unc")
    row, _ = stages(other, variables, "encode_text", tokens)
    wanted = mini["rand/text/l_unc_readout"]
    assert_relative(gaussian.log_vars(row), wanted, TOLERANCE)


def test_keeping_all_patches_is_the_plain_pass(mini):
  o, variables = golden.model()
  both = model.module(o, jnp.float32)
  images = jnp.asarray(golden.pixels(mini, np.float32)[0, :2])
  keep = masking.kept_patches(jax.random.key(0), 16, 1.0)
  np.testing.assert_array_equal(keep, np.arange(16))
  np.testing.assert_array_equal(
    both.apply(variables, images, keep, method="encode_image"),
    both.apply(variables, images, method="encode_image"),
  )


def test_log_variances_are_never_bfloat16(mini):
  o, variables = golden.model()
  o = dataclasses.replace(o, dtype="bfloat16")
  e = prolip.encoder(o)
  images = jnp.asarray(golden.pixels(mini, np.float32)[0, :4])
  tokens = jnp.asarray(mini["tokens"][0, :4])
  for row in (e.image(variables, images), e.text(variables, tokens)):
    assert row.dtype == jnp.float32
    found = gaussian.log_vars(row)
    rounded = found.astype(jnp.bfloat16).astype(jnp.float32)
    assert not np.array_equal(found, rounded)


def test_texts_must_fill_the_context(mini):
  o, variables = golden.model()
  tokens = jnp.asarray(mini["tokens"][0, :4, :8])
  with pytest.raises(ValueError, match=r"texts of 8 tokens: .* context of 16"):
    prolip.encoder(o).text(variables, tokens)


def test_a_read_out_from_the_mean_needs_one_width():
  with pytest.raises(
    ValueError, match=r"text\.width must be the embed_dim 768 with text_unc"
  ):
    prolip.Options(text=dataclasses.replace(prolip.Options().text, width=96))


def test_the_number_of_parameters_is_the_published_one():
  text = dataclasses.replace(prolip.Options().text, vocab=32_100)
  o = prolip.Options(text=text)
  params = variable_shapes(prolip.encoder(o))["params"]
  counts = {
    name: sum(x.size for x in jax.tree.leaves(params[name]))
    for name in ("vision", "text")
  }
  assert counts == {"vision": 86_981_376, "text": 110_942_208}
  assert 4 * (sum(counts.values()) + 2) == pytest.approx(0.792e9, rel=1e-3)


def test_initial_parameters_have_the_official_spread():
  """Against the standard deviations of the mini model's initialisation."""
  o, wanted = golden.model("init")
  found = jax.jit(prolip.encoder(o).init)(jax.random.key(0))
  pairs = jax.tree.map(
    lambda a, b: (np.asarray(a), b), found["params"], wanted["params"]
  )
  flat = jax.tree_util.tree_leaves_with_path(
    pairs, is_leaf=lambda x: isinstance(x, tuple)
  )
  for path, (ours, theirs) in flat:
    name = jax.tree_util.keystr(path)
    assert ours.shape == theirs.shape
    if theirs.size > 300:
      assert ours.std() == pytest.approx(theirs.std(), rel=0.15), name
      normal = np.abs(theirs).max() > 2.5 * theirs.std()
      assert (np.abs(ours).max() > 2.5 * ours.std()) == normal, name
    elif not theirs.any() or np.ptp(theirs) == 0:
      np.testing.assert_array_equal(ours, theirs, err_msg=name)
    else:
      assert np.ptp(ours) > 0, name
