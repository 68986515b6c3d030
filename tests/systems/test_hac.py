"""HAC: adapters on a trained CLIP."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

import hyperclip_jax
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.nn import lora
from hyperclip_jax.systems import hac
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build, runs, start, train
from hyperclip_jax.training import config as config_lib
from tests import small

pytestmark = pytest.mark.usefixtures("standard_promotion")


def flat(tree) -> Any:
  return traverse_util.flatten_dict(dict(tree), sep="/")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
  """Random parameters of CLIP, as a release."""
  folder = tmp_path_factory.mktemp("hac") / "clip"
  with jax.numpy_dtype_promotion("standard"):
    config = small.config("clip")
    variables = jax.jit(build.encoder(config).init)(jax.random.key(7))
    HyperCLIP("clip", config_lib.options(config), variables).save_pretrained(
      folder
    )
  return folder, variables


@pytest.mark.slow
def test_a_run_trains_adapters_and_named_parts_and_is_released_merged(
  clip, tmp_path
):
  folder, variables = clip
  config = small.config("hac", steps=2)
  config.init_from = str(folder)
  config.model.lora.update(rank=4, dropout=0.1)
  run = runs.prepare(config, tmp_path / "run")
  state, _ = train.first_state(run)
  began = jax.device_get(dict(state.variables))
  o = config_lib.options(config)
  # Zero adapters change nothing, bit for bit, and the towers are CLIP's.
  base, given = flat(hac.whole(o, began)["params"]), flat(variables["params"])
  same = {k for k in given if not hac._trained(tuple(k.split("/")))}
  for name in same:
    np.testing.assert_array_equal(base[name], given[name], name)
  assert np.any(base["visual_proj/kernel"] != given["visual_proj/kernel"])

  model = train.train(run)
  assert model is not None
  before, after = flat(began), flat(model.variables)
  moved = {k for k in before if np.any(before[k] != np.asarray(after[k]))}
  assert not any(name.startswith("frozen/") for name in moved)
  assert "params/lora/vision/qkv/b" in moved
  assert "params/visual_proj/kernel" in moved
  assert "params/text/transformer/norm/scale" in moved

  model.save_pretrained(tmp_path / "release")
  released = hyperclip_jax.load(tmp_path / "release")
  assert released.system == "hycoclip"
  texts = ["a red circle", "a blue square"]
  np.testing.assert_allclose(
    released.encode_text(texts), model.encode_text(texts), atol=1e-6
  )


def test_what_is_taken_over_and_refused(clip):
  folder, variables = clip
  config = small.config("hac")
  config.init_from = str(folder)
  assert {path[0] for path in start.read(config).leaves} == {"frozen"}
  config.model.fresh = False
  found = start.read(config).leaves["params", "visual_proj", "kernel"]
  np.testing.assert_array_equal(
    found, variables["params"]["visual_proj"]["kernel"]
  )
  other = small.config("meru")  # whose scalars start new
  other.init_from = str(folder)
  assert ("params", "curv") not in start.read(other).leaves


@pytest.mark.parametrize("system", ["clip", "meru"])
def test_other_losses_have_adapters_too(system):
  config = small.config("hac")
  config.model.loss = system
  config.model.lora.matrices = ("fc1", "out")
  o = config_lib.options(config)
  rng = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: np.asarray(rng.normal(size=leaf.shape), np.float32),
    variable_shapes(hac.encoder(o)),
  )
  assert {*variables["params"]["lora"]["text"]} == {"fc1", "out"}
  name, plain, released = hac.released(o, variables)
  assert name == system
  found, wanted = (
    flat(released),
    flat(variable_shapes(build.encoder(small.config(system)))),
  )
  assert {k: x.shape for k, x in found.items()} == {
    k: x.shape for k, x in wanted.items()
  }
  changed = {
    name.split("/")[-2]
    for name, leaf in flat(variables["frozen"]).items()
    if np.any(leaf != found[f"params/{name}"])
  }
  assert changed == {"fc1", "out"}
  assert type(plain) is hac.PLAIN[system].Options
  made = build.task(config, jax.make_mesh((1, 1), ("data", "model")))
  assert made.rules.scalars == tuple(scalars_of(system))


def scalars_of(system):
  """Names of the scalars of a plain system's task."""
  mesh = jax.make_mesh((1, 1), ("data", "model"))
  return build.task(small.config(system), mesh).rules.scalars


@pytest.mark.parametrize("matrices", [(), ("qkv", "qkv"), ("kernel",)])
def test_matrices_are_checked(matrices):
  with pytest.raises(ValueError, match="matrices must"):
    hac.LoRA(matrices=matrices)


def test_adapters_add_low_rank_changes_to_the_last_blocks():
  rng = np.random.default_rng(0)
  kernel = jnp.asarray(rng.normal(size=(3, 4, 12)), jnp.float32)
  blocks = {"qkv": {"kernel": kernel, "bias": jnp.zeros((3, 12))}}
  adapters = lora.init(jax.random.key(0), blocks, ("qkv",), last=2, rank=2)
  zero = lora.merged(blocks, adapters, 1.0)["qkv"]["kernel"]
  np.testing.assert_array_equal(zero, kernel)
  a, b = adapters["qkv"]["a"], jnp.ones((2, 3, 2, 4))
  found = lora.merged(blocks, {"qkv": {"a": a, "b": b}}, 0.5)["qkv"]["kernel"]
  np.testing.assert_array_equal(found[0], kernel[0])
  for block in range(2):
    for part in range(3):  # queries, keys and values have one each
      columns = slice(4 * part, 4 * part + 4)
      np.testing.assert_allclose(
        found[block + 1][:, columns],
        kernel[block + 1][:, columns] + 0.5 * a[block, part] @ b[block, part],
        rtol=1e-5,
        atol=1e-6,
      )
  half = lora.dropped(jax.random.key(1), adapters, 0.5)["qkv"]["a"]
  kept = np.asarray(half != 0)
  assert (kept == kept[..., :1]).all()  # whole features
  assert 0 < kept.mean() < 1
  np.testing.assert_allclose(half[kept], 2 * np.asarray(a)[kept], rtol=1e-6)
