"""What makes the training step fast is in what JAX traces and XLA compiles."""

import types
from typing import Any

import jax
import numpy as np
import pytest
from jax._src.cudnn import fused_attention_stablehlo as cudnn
from jax.extend import core

from hyperclip_jax.training import runs, train
from tests import meshes, small

pytestmark = pytest.mark.usefixtures("standard_promotion")

# Of the towers: 8 x 8 patches and CLS, and two lengths of texts; all odd, and
# none beside the 16 numbers of a point.
PATCHES, CAPTION, PHRASE = 65, 17, 13


def make_run(tmp_path, dtype="bfloat16", system="hycoclip"):
  config = small.config(system)
  config.model.dtype = dtype
  config.model.vision.patch = 4
  # The programs of one device can be lowered for another platform.
  return runs.Run(config, tmp_path, [], meshes.mesh())


def make_batch(caption=CAPTION, phrase=PHRASE):
  pictures = {
    "image": np.zeros((4, 32, 32, 3), np.uint8),
    "crop": np.tile(np.array([0, 0, 32, 32], np.float32), (4, 1)),
    "seed": np.zeros(4, np.uint32),
  }
  return {
    "whole": {**pictures, "text": np.ones((4, caption), np.int32)},
    "part": {**pictures, "text": np.ones((4, phrase), np.int32)},
  }


@pytest.fixture
def on_gpu(monkeypatch):
  """JAX traces as where there is a GPU with cuDNN."""
  versions = types.SimpleNamespace(cudnn_get_version=lambda: 91000)
  monkeypatch.setattr(cudnn, "cuda_versions", versions)
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def trace(run):
  state = jax.eval_shape(lambda: train.first_state(run)[0])
  return train.make_step(run).trace(state, make_batch())


def equations(jaxpr: Any, inside: tuple = ()):
  """(equation, names of the equations around it), all the way down."""
  for equation in jaxpr.eqns:
    yield equation, inside
    for inner in core.jaxprs_in_params(equation.params):
      yield from equations(inner, (*inside, equation.primitive.name))


def shapes(jaxpr):
  """(dtype, shape) of everything that is computed."""
  for equation, _ in equations(jaxpr):
    for variable in equation.outvars:
      yield str(variable.aval.dtype), variable.aval.shape


@pytest.mark.usefixtures("on_gpu")
def test_gpu_step_has_bfloat16_matmuls_and_flash_attention(tmp_path):
  traced = trace(make_run(tmp_path))
  jaxpr = traced.jaxpr.jaxpr

  towers = [
    {np.dtype(v.aval.dtype).name for v in equation.invars}
    for equation, inside in equations(jaxpr)
    if equation.primitive.name == "dot_general" and "scan" in inside
  ]
  # Four of a block forward and eight backward; images, captions and phrases.
  assert len(towers) == 3 * 12
  assert all(dtypes == {"bfloat16"} for dtypes in towers)

  # No logits, and no mask, of all pairs of positions; one is added at most.
  for length in (PATCHES, CAPTION, PHRASE):
    for pairs in ((length, length), (length + 1, length + 1)):
      assert all(shape[-2:] != pairs for _, shape in shapes(jaxpr))

  lowered = traced.lower(lowering_platforms=("cuda",)).as_text()
  assert lowered.count("@__cudnn$fmhaSoftmax(") == 3
  assert lowered.count("@__cudnn$fmhaSoftmaxBackward(") == 3


def test_cpu_step_has_no_mask_over_patches(tmp_path):
  jaxpr = trace(make_run(tmp_path, "float32")).jaxpr.jaxpr
  pairs = [t for t, s in shapes(jaxpr) if s[-2:] == (PATCHES, PATCHES)]
  assert pairs
  assert "bool" not in pairs


@pytest.mark.parametrize(
  ("fsdp", "data", "model"), [(False, 1, 1), (True, 2, 2)]
)
def test_unrolled_blocks_leave_no_loop(tmp_path, fsdp, data, model):
  config = small.config()
  config.mesh.fsdp = fsdp

  def loops(unroll):
    config.model.unroll = unroll
    run = runs.Run(config, tmp_path, [], meshes.mesh(data, model))
    return trace(run).lower().as_text().count("stablehlo.while")

  assert loops(False) == 3 * 2  # forward and backward of three embeddings
  assert loops(True) == 0


@pytest.mark.slow
def test_state_is_donated_and_each_bucket_compiles_once(tmp_path):
  run = make_run(tmp_path, system="clip")
  state, _ = train.first_state(run)
  leaves = len(jax.tree.leaves(state))
  step = train.make_step(run)
  batches = {
    length: {"whole": make_batch(length)["whole"]} for length in (17, 32)
  }
  text = step.lower(state, batches[17]).compile().as_text()
  header = text[: text.index("\n")]
  assert header.count("may-alias") + header.count("must-alias") == leaves

  before = state
  for length in (17, 32, 17, 32):
    state, _ = step(state, jax.device_put(batches[length]))
  assert step._cache_size() == 2
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(before))


class Watched:
  """A metric on the device; notes when it is fetched."""

  def __init__(self, events):
    self.events = events

  def __array__(self, dtype=None, copy=None):
    self.events.append("fetch")
    return np.zeros((), np.float32)


def test_between_logs_nothing_is_fetched(tmp_path, monkeypatch):
  events = []
  make_step = train.make_step

  def watched(run):
    step = make_step(run)

    def watch(state, batch):
      events.append("step")
      with jax.transfer_guard("disallow"):  # all that a step reads is there
        state, _ = step(state, batch)
      return state, {"loss": Watched(events), "skipped": np.float32(0)}

    return watch

  monkeypatch.setattr(train, "make_step", watched)
  config = small.config("clip")
  config.log_every = 2
  config.checkpoint.every = 6
  train.train(runs.prepare(config, tmp_path))
  assert events == 3 * [*2 * ["step"], *2 * ["fetch"]]
