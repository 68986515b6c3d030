"""Published weights both ways, and steps of the published recipe."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import hyperclip_jax
from hyperclip_jax.checkpoints import torch_checkpoint
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.geometry import ensemble
from hyperclip_jax.optim import adamw
from hyperclip_jax.sections import choice
from hyperclip_jax.systems import rocket
from hyperclip_jax.systems.leaves import to_state
from hyperclip_jax.systems.rocket import official
from hyperclip_jax.training import sharding, step
from hyperclip_jax.training.step import TrainState
from tests import golden_rocket, meshes
from tests.golden_rocket import under

pytestmark = pytest.mark.usefixtures("standard_promotion", "optimized")
RUNS = ("cl2l_resnet", "byolip_vit")
HEADS = {"text_heads": 4, "vision_heads": 3, "image_size": 32}
SHARED = "siamlip_image_projector_local.0.0.weight"


def state_dict(name):
  return load_file(golden_rocket.FOLDER / f"{name}_init.safetensors")


@dataclasses.dataclass(frozen=True)
class Wide(rocket.Options):
  """Options that also compute in float64."""

  dtype: str = choice("float32", ("float32", "float64"))


@functools.cache
def start(name, dtype="float32"):
  """Options and variables of a golden run, and its settings."""
  golden = golden_rocket.arrays("train")
  config = {k: v.item() for k, v in under(golden, f"{name}/config").items()}
  momentum = name == "byolip_vit"
  options, variables = official.read(
    state_dict(name), HEADS | {"momentum": momentum}
  )
  values = {
    field.name: getattr(options, field.name)
    for field in dataclasses.fields(options)
  } | {
    "dtype": dtype,
    "smoothing": config["label_smoothing"],
    "reduction": ("avg", "sum")[config["sum"]],
  }
  if dtype == "float32":
    values |= {
      kind: tuple(golden[f"in/{kind}"].tolist())
      for kind in ("pixel_mean", "pixel_std")
    }
  else:  # the published float64 run has pixels that were normalised in float32
    values |= {"pixel_mean": (0.0,) * 3, "pixel_std": (1.0,) * 3}
  return Wide(**values), variables, config


def batch_of(number, dtype):
  """One weak and two strong views of an example; strong rows side by side."""
  golden = golden_rocket.arrays("train")
  images = golden["in/images"][number % 4].astype(np.float32) / 255
  if dtype == "float64":
    images = (images - golden["in/pixel_mean"]) / golden["in/pixel_std"]
    images = images.astype(dtype)
  tokens = golden["in/tokens"][number % 4]

  def rows(x, kept):
    return jnp.asarray(x[:, kept].reshape(-1, *x.shape[2:]))

  return {
    view: {"image": rows(images, kept), "text": rows(tokens, kept)}
    for view, kept in (("weak", slice(1)), ("strong", slice(1, None)))
  }


@functools.cache
def trained(name, dtype):
  """Metrics of all steps, the first gradients, and the last state."""
  options, variables, config = start(name, dtype)
  rates = jnp.asarray(golden_rocket.arrays("train")[f"{name}/lr"], dtype)
  task = rocket.task(options, View(), meshes.mesh())
  optimizer = adamw.adamw(
    lambda count: rates[count],
    b1=0.9,
    b2=0.98,
    eps=1e-8,
    weight_decay=config["wd"],
    mask=functools.partial(
      adamw.decay_mask,
      matrices=task.rules.matrices,
      scalars=task.rules.scalars,
    ),
  )
  variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables)
  state = TrainState(
    jnp.zeros((), jnp.int32), variables, optimizer.init(variables["params"])
  )

  @jax.jit
  def update(state, batch):
    gradients = {}

    def observed(grads, opt_state, params):
      gradients["all"] = grads
      return optimizer.update(grads, opt_state, params)

    watched = optimizer._replace(update=observed)
    key = jax.random.key(0)
    new, metrics = step.update(task, watched, state, batch, key)
    return new, metrics, gradients["all"]

  rows, first = [], None
  for number in range(config["steps"]):
    state, metrics, grads = update(state, batch_of(number, dtype))
    first = grads if first is None else first
    scales = {
      f"{name}_after": jnp.exp(state.params[name])
      for name in task.rules.scalars
    }
    rows.append(jax.device_get(metrics | scales))
  return rows, jax.device_get(first), jax.device_get(state.variables)


TERMS = {
  "loss": "loss",
  "clip_loss": "contrastive_loss",
  "clip_loss_image_global": "image_weak_loss",
  "clip_loss_text_global": "text_weak_loss",
  "clip_loss_image_local": "image_strong_loss",
  "clip_loss_text_local": "text_strong_loss",
  "siamlip_loss": "siam_loss",
  "logit_scale": "logit_scale_after",
  "h_logit_scale_after": "strong_logit_scale_after",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_step_equals_official(name):
  with jax.enable_x64(True):
    rows, first, variables = trained(name, "float64")
  compare(name, rows, "float64", 1e-8)
  golden = under(golden_rocket.arrays("train"), name)
  leaves = official.layout(start(name)[0])
  params = {k: v for k, v in leaves.items() if v.path[0] == "params"}
  grads = norms(params, {"params": first})
  names = golden["grad_norm_names"].tolist()
  compared = 0
  for key, wanted in zip(names, golden["grad_norms"], strict=True):
    compared += key in grads
    np.testing.assert_allclose(
      grads[key], wanted, rtol=1e-7, atol=1e-9, err_msg=key
    )
  assert compared == len(names)
  final = {"": (leaves, variables, golden["final_norms"])}
  if name == "byolip_vit":
    ema = variables["ema"]
    final["ema"] = (leaves, ema, golden["momentum_final_norms"])
  for which, (leaves, tree, wanted) in final.items():
    found = norms(leaves, tree)
    names = golden["final_norm_names"].tolist()
    assert set(names) == set(found)
    for key, value in zip(names, wanted, strict=True):
      np.testing.assert_allclose(
        found[key], value, rtol=1e-7, atol=1e-8, err_msg=f"{which} {key}"
      )


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_every_step_in_float32_is_close_to_official(name):
  rows, _, _ = trained(name, "float32")
  compare(name, rows, "float32", 1e-4)


def compare(name, rows, dtype, tolerance):
  golden = under(golden_rocket.arrays("train"), f"{name}/{dtype}")
  wanted = {TERMS[key]: golden[key] for key in golden if key in TERMS}
  assert {"loss", "image_strong_loss", "logit_scale_after"} <= wanted.keys()
  for key, series in wanted.items():
    found = [row[key] for row in rows]
    np.testing.assert_allclose(found, series, rtol=tolerance, err_msg=key)


def norms(leaves, tree):
  state = to_state(leaves, jax.tree.map(np.asarray, dict(tree)), 8)
  return {
    key: np.linalg.norm(x.astype(float).ravel()) for key, x in state.items()
  }


@pytest.mark.parametrize("name", RUNS)
def test_weight_decay_is_of_the_same_parameters(name):
  options, variables, _ = start(name)
  task = rocket.task(options, View(), sharding.make_mesh())
  mask: Any = adamw.decay_mask(
    variables["params"], task.rules.matrices, task.rules.scalars
  )
  leaves = official.layout(options)
  found = set()
  for key, leaf in leaves.items():
    if leaf.path[0] == "params":
      decays = functools.reduce(lambda tree, k: tree[k], leaf.path[1:], mask)
      if not decays:
        found.add(key)
  names = golden_rocket.arrays("train")[f"{name}/no_decay"].tolist()
  # A module under two names is listed under one.
  assert set(names) <= found
  assert {key for key in found - set(names) if "local" not in key} == set()


@pytest.mark.parametrize("name", RUNS)
def test_state_dicts_come_back_bit_for_bit(name):
  given = state_dict(name)
  assert official.matches(given)
  wrapped = {f"module.{key}": x for key, x in given.items()}
  wrapped["module.visual.bn1.num_batches_tracked"] = np.array(3)
  options, variables = official.read(wrapped, HEADS)
  shapes = jax.eval_shape(rocket.encoder(options).init, jax.random.key(0))
  assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)
  found = official.write(options, variables)
  assert found.keys() == given.keys()
  for key, array in given.items():
    np.testing.assert_array_equal(found[key], array, err_msg=key)


def test_a_state_dict_says_which_variant_it_is():
  siam = state_dict("byolip_vit")
  assert official.read(siam, HEADS)[0].variant == "siamlip"
  options, variables = official.read(siam, HEADS | {"momentum": True})
  assert options.variant == "byolip"
  jax.tree.map(
    np.testing.assert_array_equal,
    variables["ema"]["params"],
    variables["params"],
  )
  own = siam | {SHARED: siam[SHARED] + 1}
  assert official.read(own, HEADS)[0].separate_head
  plain = {
    key: x
    for key, x in siam.items()
    if not key.startswith(("siamlip", "l2l")) and "predictor" not in key
  }
  assert official.read(plain, HEADS)[0].variant == "clip"
  moco = official.read(siam, {"model": "CL2L_VITS16MOCO_SIAMLIP",
                              "text_heads": 4})  # fmt: skip
  assert moco[0].vision.heads == 12


def test_other_state_dicts_are_refused_by_name():
  given = state_dict("cl2l_resnet")
  assert not official.matches(["visual.conv1.weight", "logit_scale"])
  with pytest.raises(ValueError, match=r"missing ln_final\.bias; unexpected x"):
    official.read(
      {k: v for k, v in given.items() if k != "ln_final.bias"}
      | {"x": given["logit_scale"]},
      HEADS,
    )
  with pytest.raises(ValueError, match="not of the published CLIP-Rocket"):
    official.read({"logit_scale": given["logit_scale"]}, HEADS)
  with pytest.raises(ValueError, match=r"ln_final\.bias has the shape \(1,\)"):
    official.read(given | {"ln_final.bias": np.zeros(1, np.float32)}, HEADS)
  with pytest.raises(ValueError, match="not of the published CLIP-Rocket"):
    official.read(
      given | {"image_projector.weight": np.zeros((), np.float32)}, HEADS
    )


def test_load_reads_the_published_file(tmp_path):
  torch = pytest.importorskip("torch")
  given = state_dict("byolip_vit")
  state = {f"module.{key}": torch.from_numpy(x) for key, x in given.items()}
  state["module.l2l_text_projector.bn1.num_batches_tracked"] = torch.tensor(9)
  torch.save({"epoch": 3, "state_dict": state}, tmp_path / "siamlip.pt")
  model = hyperclip_jax.load(tmp_path / "siamlip.pt", 3, 4)
  wanted = official.read(given, HEADS)
  assert (model.system, model.options) == ("rocket", wanted[0])
  jax.tree.map(np.testing.assert_array_equal, model.variables, wanted[1])
  rows = model.encode_image(np.zeros((2, 40, 40, 3), np.uint8))
  assert rows.shape == (2, model.width) == (2, 24)
  scores = ensemble.scores(rows, model.encode_text(["a dog", "a cat"]))
  assert all(np.isfinite(x).all() for x in scores.values())
  model.save_pretrained(tmp_path / "release")
  again = hyperclip_jax.load(tmp_path / "release")
  np.testing.assert_array_equal(
    again.encode_text(["a dog"]), model.encode_text(["a dog"])
  )
  state["module.visual.norm.bias"][0] = float("nan")
  torch.save({"state_dict": state}, tmp_path / "bad.pt")
  with pytest.raises(ValueError, match="is NaN or infinite"):
    hyperclip_jax.load(tmp_path / "bad.pt", 3, 4)


@pytest.mark.parametrize("variant", ["clip_rocket", "siamlip", "barlip"])
def test_a_file_that_is_written_loads(variant, tmp_path):
  torch = pytest.importorskip("torch")
  run = "cl2l_resnet" if variant == "clip_rocket" else "byolip_vit"
  heads = {name: HEADS[name] for name in ("vision_heads", "text_heads")}
  options, variables = official.read(state_dict(run), heads)
  if variant == "barlip":  # its heads, which only training uses, are left out
    options = dataclasses.replace(options, variant=variant)
  path = tmp_path / "rocket.pt"
  torch_checkpoint.save(path, Release("rocket", options, variables))
  names = torch.load(path, weights_only=True)["state_dict"]
  assert all(name.startswith("module.") for name in names)
  found = torch_checkpoint.load(path, **heads)
  if variant == "barlip":
    assert found.options.variant == "clip_rocket"
    assert not any("head" in name for name in found.variables["params"])
    variables = {
      kind: {name: tree[name] for name in found.variables[kind]}
      for kind, tree in variables.items()
    }
  else:
    assert found.options == options
  jax.tree.map(np.testing.assert_array_equal, found.variables, variables)
