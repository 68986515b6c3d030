"""A run starts from a trained model."""

from typing import Any

import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util

import hyperclip_jax
from hyperclip_jax.checkpoints import open_clip, torch_checkpoint, torch_layout
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.systems import leaves
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import config_tree, runs, start, train
from tests import small
from tests.evals import saved

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
  """Random parameters of ProLIP, as a release."""
  folder = tmp_path_factory.mktemp("start")
  with jax.numpy_dtype_promotion("standard"):
    model = _model(small.config("prolip"))
    model.save_pretrained(folder / "release")
  return folder / "release", model


def _model(config):
  from hyperclip_jax.inference.model import HyperCLIP
  from hyperclip_jax.training import build

  variables = jax.jit(build.encoder(config).init)(jax.random.key(7))
  return HyperCLIP(config.system, config_lib.options(config), variables)


def test_a_run_begins_with_the_models_variables(release, tmp_path):
  folder, model = release
  config = small.config("prolip")
  config.init_from = str(folder)
  run = runs.prepare(config, tmp_path)
  state, _ = train.first_state(run)
  jax.tree.map(np.testing.assert_array_equal, state.variables, model.variables)
  fresh, _ = train.first_state(runs.prepare(small.config("prolip"), tmp_path))
  assert jax.tree.map(lambda x: x.sharding, state) == jax.tree.map(
    lambda x: x.sharding, fresh
  )


@pytest.mark.parametrize("kind", ["run", "pth"])
def test_runs_and_published_files_are_starts(kind, tmp_path):
  config = small.config("hycoclip")
  if kind == "run":
    config.init_from = str(saved.model(tmp_path / "run"))
    model = hyperclip_jax.load(config.init_from)
  else:
    pytest.importorskip("torch")
    config.init_from = str(tmp_path / "published.pth")
    # The heads follow from the published widths.
    config.model.vision.update(width=384, heads=6, depth=1)
    config.model.text.update(width=512, heads=8, depth=1)
    model = _model(config)
    content = Release(model.system, model.options, model.variables)
    torch_checkpoint.save(config.init_from, content)
  found = start.read(config).leaves
  wanted = flat(jax.device_get(model.variables))
  assert found.keys() == wanted.keys()
  for path, leaf in found.items():
    np.testing.assert_array_equal(leaf, wanted[path])


def test_a_name_is_a_start():
  model = hyperclip_jax.load("emoji-mini")
  config = config_tree.load(f"emoji_small:{model.system}")
  config.init_from = "emoji-mini"
  wanted = flat(jax.device_get(model.variables))
  found = start.read(config).leaves
  assert found.keys() == wanted.keys()
  for path, leaf in found.items():
    np.testing.assert_array_equal(leaf, wanted[path])


def test_prolip_starts_with_longer_texts(release, tmp_path):
  folder, model = release
  config = small.config("prolip")
  config.init_from = str(folder)
  config.model.text.context = 40
  config.data.text_buckets = (40,)
  found = start.read(config).leaves["params", "text", "position_embed"]
  old = np.asarray(model.params["text"]["position_embed"])
  assert found.shape == (42, 32)
  np.testing.assert_array_equal(found[-2:], old[-2:])


def test_other_models_are_refused(release):
  folder, _ = release
  config = small.config("clip")
  config.init_from = str(folder)
  with pytest.raises(
    ValueError, match=r"is a model of prolip: set config.system"
  ):
    start.read(config)
  config = small.config("prolip")
  config.init_from = str(folder)
  config.model.vision.depth = 1
  with pytest.raises(ValueError, match=r"is \(2, .* needs \(1, "):
    start.read(config)
  config.init_from = str(folder / "none")
  with pytest.raises(FileNotFoundError, match="none: no such file or folder"):
    start.read(config)


def test_files_of_the_model_are_found_from_anywhere(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "release").mkdir()
  config = small.config("prolip")
  config.init_from, config.model.tokenizer = "release", "a/tokenizer.json"
  found = runs.anchored(config)
  assert found.init_from == str(tmp_path / "release")
  assert found.model.tokenizer == str(tmp_path / "a/tokenizer.json")
  config.init_from = config.model.tokenizer = "hf-hub:org/name"
  found = runs.anchored(config)
  assert (found.init_from, found.model.tokenizer) == ("hf-hub:org/name",) * 2
  config.init_from = "hycoclip-vit-b"  # a name that `load` knows, not a file
  assert runs.anchored(config).init_from == "hycoclip-vit-b"
  config.system = "nothing"
  runs.anchored(config)


def flat(variables) -> Any:
  return traverse_util.flatten_dict(dict(variables))


def test_other_systems_of_the_same_towers_start_but_for_their_scalars(tmp_path):
  clip = _model(small.config("clip"))
  clip.save_pretrained(tmp_path)
  config = small.config("hycoclip")
  config.init_from = str(tmp_path)
  found = start.read(config)
  wanted = flat(clip.variables)
  assert found.leaves.keys() == wanted.keys()
  for path, leaf in found.leaves.items():
    np.testing.assert_array_equal(leaf, wanted[path])
  sizes = {path: leaf.size for path, leaf in wanted.items()}
  lines = start.report(found, sizes | {("params", "curv"): 1}).splitlines()
  total = sum(sizes.values())
  assert lines == [
    f"init_from: took {total:,} of {total + 1:,} parameters in "
    f"{len(wanted)} of {len(wanted) + 1} arrays",
    "  start new: curv",
  ]


def openai(config, params):
  """Parameters of a clip by OpenAI's names, and what ours does not have."""
  options = config_lib.options(config)
  state = torch_layout.to_state(params, "clip", options)
  width = options.vision.width
  positions = np.arange(17 * width, dtype=np.float32).reshape(17, width)
  found = {
    "visual.ln_pre.weight": np.ones(width, np.float32),
    "visual.ln_pre.bias": np.zeros(width, np.float32),
    "visual.positional_embedding": positions,
  }
  ours = {ours: name for name, ours in leaves.TEXT_BLOCK.items()}
  blocks = {name: ours[module] for name, module in leaves.VISION_BLOCK.items()}
  ends = {
    "visual.cls_token": "visual.class_embedding",
    "visual.patch_embed.proj.weight": "visual.conv1.weight",
    "visual.norm": "visual.ln_post",
    "textual.posit_embed": "positional_embedding",
    "textual.token_embed": "token_embedding",
    "textual.ln_final": "ln_final",
    "textual.resblocks": "transformer.resblocks",
  }
  for name, array in state.items():
    array = np.asarray(array)
    if name.startswith("visual.blocks."):
      _, _, layer, rest = name.split(".", 3)
      module, _, kind = rest.rpartition(".")
      dot = "_" if blocks[module].endswith("in_proj") else "."
      start = f"visual.transformer.resblocks.{layer}.{blocks[module]}"
      found[f"{start}{dot}{kind}"] = array
    elif name in ("visual_proj.weight", "textual_proj.weight"):
      name = "visual.proj" if name.startswith("v") else "text_projection"
      found[name] = array.T
    elif name != "visual.patch_embed.proj.bias":
      for before, after in ends.items():
        name = name.replace(before, after)
      found[name] = array.ravel() if "class_embedding" in name else array
  return {name: np.ascontiguousarray(array) for name, array in found.items()}


@pytest.fixture(scope="module")
def state_dict(tmp_path_factory):
  """A config whose heads are like OpenAI's, variables, and a file of them."""
  config = small.config("clip")
  config.model.vision.update(width=64, heads=1)
  config.model.text.update(width=64, heads=1)
  with jax.numpy_dtype_promotion("standard"):
    variables = jax.device_get(_model(config).variables)
  path = tmp_path_factory.mktemp("open_clip") / "open_clip_model.safetensors"
  safetensors.numpy.save_file(openai(config, variables["params"]), path)
  return config, variables, path


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
@pytest.mark.parametrize("system", ["clip", "hycoclip", "hac"])
def test_a_state_dict_of_open_clip_gives_what_fits(
  state_dict, system, suffix, tmp_path
):
  config, variables, path = state_dict
  if suffix == "pt":
    torch = pytest.importorskip("torch")
    state = safetensors.numpy.load_file(path)
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    tensors["attn_mask"] = torch.full((32, 32), -torch.inf)
    path = tmp_path / "open_clip.pt"
    torch.save({"state_dict": tensors}, path)
  other = small.config(system)
  other.model.vision.update(config.model.vision)
  other.model.text.update(config.model.text)
  other.init_from = str(path)
  found = start.read(other)
  wanted = {
    p: leaf
    for p, leaf in flat(variables).items()
    if p[-2:] != ("patch_embed", "bias")
  }
  if system == "hac":  # which has projections and norms of its own
    wanted = {
      ("frozen", *p[1:]): x
      for p, x in wanted.items()
      if p[1] in ("vision", "text") and "norm" not in p
    }
  assert found.leaves.keys() == wanted.keys()
  for p, leaf in found.leaves.items():
    positions = np.arange(64.0) if p[-1] == "cls" else 0
    np.testing.assert_array_equal(leaf, wanted[p] + np.float32(positions))
  assert "visual.ln_pre.weight has no place here" in found.notes[0]
  assert "--config.model.pixel_mean='(0.48145466" in found.notes[1]


def test_a_state_dict_that_does_not_fit_says_why(state_dict):
  config, _, path = state_dict
  config = config.copy_and_resolve_references()
  config.init_from = str(path)
  config.model.embed_dim = 8
  notes = start.read(config).notes
  assert "visual_proj/kernel is (64, 16), here (64, 8)" in notes[0]
  config.model.vision.heads = 2
  with pytest.raises(ValueError, match=r"64 wide: set config.model.vision.hea"):
    start.read(config)
  config.model.vision.update(width=128, heads=2)
  config.model.text.update(width=128, heads=2)
  with pytest.raises(ValueError, match=r"none of its blocks fit: .* is \(2, "):
    start.read(config)


def test_other_files_are_no_state_dicts_of_open_clip(tmp_path):
  path = tmp_path / "model.safetensors"
  safetensors.numpy.save_file({"a": np.zeros(3)}, path)
  assert open_clip.read(path) is None
  (tmp_path / "a.pt").write_bytes(b"nothing")
  assert open_clip.read(tmp_path / "a.pt") is None


@pytest.mark.parametrize(
  ("tower", "stays", "moves"),
  [("image", "vision", "text"), ("text", "text", "vision")],
)
def test_a_locked_tower_stays_and_keeps_no_moments(
  tower, stays, moves, tmp_path, capsys
):
  clip = _model(small.config("clip"))
  clip.save_pretrained(tmp_path / "release")
  config = small.config("clip", steps=2)
  config.init_from = str(tmp_path / "release")
  config.optim.lock_tower = tower
  run = runs.prepare(config, tmp_path / "run")
  trained = train.train(run)
  assert trained is not None
  assert "init_from: took" in capsys.readouterr().err
  before, after = flat(clip.variables), flat(trained.variables)
  moved = {
    path[1] for path in before if not np.array_equal(before[path], after[path])
  }
  assert stays not in moved
  assert {moves, "visual_proj", "logit_scale"} <= moved
  assert train.train(run) is not None  # restores the state
  state, _ = train.first_state(run)
  count = sum(x.size for x in jax.tree.leaves(state.opt_state))
  rest = {p: x for p, x in before.items() if p[1] != stays}
  assert count < 2 * sum(x.size for x in rest.values()) + 10


def test_towers_that_are_not_there_are_not_locked(tmp_path):
  config = small.config("hac")
  config.optim.lock_tower = "image"
  with pytest.raises(ValueError, match="hac trains no image tower"):
    runs.prepare(config, tmp_path)
