"""Official files: both ways bit for bit, and nothing in them is run."""

import argparse
import dataclasses
import os
import pickle
import zipfile

import jax
import numpy as np
import pytest
import torch

from hyperclip_jax.checkpoints import torch_checkpoint
from hyperclip_jax.checkpoints.release import Release
from hyperclip_jax.training import build
from hyperclip_jax.training import config as config_lib
from tests import golden_files, small


def path_of(name, file="init"):
  return golden_files.FOLDER / f"{name}_mini_{file}.pth"


def load(path):
  return torch_checkpoint.load(path, vision_heads=4, text_heads=2)


def read(path):
  return torch.load(path, weights_only=True)


def saved_with(path, change):
  """The golden HyCoCLIP file after `change(state dict)`."""
  checkpoint = read(path_of("hycoclip"))
  change(checkpoint["model"])
  torch.save(checkpoint, path)
  return path


def assert_same(a, b):
  jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_round_trip_is_bit_for_bit(name, tmp_path):
  official = load(path_of(name))
  assert official.options.image_size == 32
  saved = tmp_path / f"{name}.pth"
  torch_checkpoint.save(saved, official)
  wanted, found = read(path_of(name)), read(saved)
  assert found["model"].keys() == wanted["model"].keys()
  for key, tensor in wanted["model"].items():
    assert found["model"][key].dtype == tensor.dtype
    assert torch.equal(found["model"][key], tensor), key
  again = load(saved)
  assert again.options == official.options
  assert_same(again, official)


def test_a_checkpoint_is_written_whole_in_a_new_folder(tmp_path, monkeypatch):
  official = load(path_of("clip"))
  torch_checkpoint.save(tmp_path / "new" / "a.pth", official)
  assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.pth"]
  monkeypatch.setenv("HOME", str(tmp_path))
  assert load("~/new/a.pth").options == official.options
  with pytest.raises(OSError, match=r"a\.pth"):
    torch_checkpoint.save(tmp_path / "new" / "a.pth" / "b.pth", official)


def test_cones_that_a_checkpoint_would_lose_are_refused(tmp_path):
  official = load(path_of("meru"))
  options = dataclasses.replace(official.options, min_radius=0.3)
  with pytest.raises(ValueError, match=r"min_radius 0\.3: .*save_pretrained"):
    torch_checkpoint.save(
      tmp_path / "a.pth", official._replace(options=options)
    )
  assert not list(tmp_path.iterdir())


def test_a_model_of_ours_becomes_an_official_one(tmp_path):
  config = small.config("meru")
  options = config_lib.options(config)
  variables = jax.jit(build.encoder(config).init)(jax.random.key(0))
  wanted = Release("meru", options, variables)
  torch_checkpoint.save(tmp_path / "a.pth", wanted)
  found = torch_checkpoint.load(tmp_path / "a.pth", 2, 2)
  assert found.options.image_size == options.image_size
  assert found.options.pixel_mean == pytest.approx(options.pixel_mean)
  jax.tree.map(np.testing.assert_array_equal, found.variables, variables)


def test_pixel_statistics_are_the_files_own():
  wanted = read(path_of("hycoclip"))["model"]["pixel_mean"].ravel().tolist()
  o = load(path_of("hycoclip")).options
  assert list(o.pixel_mean) == wanted == list(o.pixel_std)
  assert load(path_of("meru")).options.pixel_mean != o.pixel_mean


def test_missing_and_unexpected_keys_are_listed(tmp_path):
  def change(state):
    del state["visual.norm.weight"]
    state["visual.head.weight"] = torch.zeros(2)

  path = saved_with(tmp_path / "a.pth", change)
  with pytest.raises(
    ValueError,
    match=r"a\.pth: .*missing visual\.norm\.weight; "
    r"unexpected visual\.head\.weight$",
  ):
    load(path)


def test_foreign_state_dict_is_told_by_its_keys(tmp_path):
  state = {f"layer{i}.weight": torch.zeros(2) for i in range(9)}
  torch.save({"model": state}, tmp_path / "a.pth")
  with pytest.raises(ValueError, match=r"missing .*; unexpected .*5 more"):
    load(tmp_path / "a.pth")
  torch.save(state, tmp_path / "b.pth")
  with pytest.raises(ValueError, match=r"missing .*; unexpected .*5 more"):
    load(tmp_path / "b.pth")
  torch.save({"layer0": 3, "model": {"a": 1}}, tmp_path / "c.pth")
  with pytest.raises(ValueError, match=r"no 'model' state dict.*layer0"):
    load(tmp_path / "c.pth")
  torch.save(torch.zeros(2), tmp_path / "d.pth")
  with pytest.raises(ValueError, match=r"no state dict .*; found a Tensor"):
    load(tmp_path / "d.pth")


@pytest.mark.parametrize(
  ("value", "message"),
  [
    (torch.zeros(63), r"shape \(63,\), wanted \(64,\)"),
    (torch.zeros(64, dtype=torch.int64), "int64, not a tensor of floats"),
    (torch.zeros(64, dtype=torch.bool), "bool, not a tensor of floats"),
    (torch.zeros(64).to_sparse(), "a tensor without dense values"),
    (torch.zeros(64, device="meta"), "a tensor without dense values"),
    (torch.full((64,), float("inf")), r"norm.weight is NaN .* in 64 of 64"),
    ("weights", "str, not a tensor of floats"),
    (torch.zeros(1).expand(10**12), "claim 4,000,00.* more than the file"),
  ],
)
def test_wrong_tensor_is_named(value, message, tmp_path):
  def change(state):
    state["visual.norm.weight"] = value

  with pytest.raises(ValueError, match=message):
    load(saved_with(tmp_path / "a.pth", change))


def test_learned_positions_are_refused(tmp_path):
  def change(state):
    state["visual.pos_embed"][0, 3, 5] += 0.1

  with pytest.raises(ValueError, match="other than fixed 2D sin-cos"):
    load(saved_with(tmp_path / "a.pth", change))


def test_parameters_load_as_tensors_do(tmp_path):
  def change(state):
    for name, value in state.items():
      if value.is_floating_point():
        state[name] = torch.nn.Parameter(value)

  wanted = load(path_of("hycoclip"))
  found = load(saved_with(tmp_path / "a.pth", change))
  assert_same(found, wanted)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_cast(dtype, tmp_path):
  def change(state):
    name = "visual_proj.weight"
    state[name] = state[name].to(getattr(torch, dtype))

  wanted, found = (
    load(path).variables["params"]["visual_proj"]["kernel"]
    for path in (path_of("hycoclip"), saved_with(tmp_path / "a.pth", change))
  )
  assert found.dtype == np.float32
  tolerance = {"float16": 2**-11, "bfloat16": 2**-8, "float64": 0}[dtype]
  np.testing.assert_allclose(found, wanted, tolerance, 2**-25)


WRAPPED = {
  "DDP": "module.{}",
  "compile": "_orig_mod.{}",
  "both": "module._orig_mod.{}",
  "both, otherwise": "_orig_mod.module.{}",
  "Lightning": "model.{}",
  "Lightning, compiled": "model._orig_mod.{}",
}


@pytest.mark.parametrize("holder", ["model", "state_dict", None])
@pytest.mark.parametrize("form", WRAPPED.values(), ids=WRAPPED)
def test_prefixes_of_wrappers_are_taken_off(form, holder, tmp_path):
  state = {
    form.format(name): value
    for name, value in read(path_of("hycoclip"))["model"].items()
  }
  content = {holder: state, "epoch": 3} if holder else state
  torch.save(content, tmp_path / "a.pth")
  found, wanted = load(tmp_path / "a.pth"), load(path_of("hycoclip"))
  assert_same(found, wanted)


def test_a_tower_compiled_by_itself_is_read(tmp_path):
  state = {
    name.replace("visual.", "visual._orig_mod."): value
    for name, value in read(path_of("hycoclip"))["model"].items()
  }
  torch.save({"model": state}, tmp_path / "a.pth")
  assert load(tmp_path / "a.pth").options == load(path_of("hycoclip")).options


def test_a_key_with_and_without_its_prefix_is_refused(tmp_path):
  def change(state):
    state["module.curv"] = state["curv"] + 1

  with pytest.raises(ValueError, match=r"a\.pth: holds curv twice"):
    load(saved_with(tmp_path / "a.pth", change))


@pytest.mark.parametrize(
  ("extra", "name"),
  [
    ({"best": np.float64(0.5)}, "multiarray.scalar"),
    ({"args": argparse.Namespace(lr=1e-3)}, "argparse.Namespace"),
    ({"module": torch.nn.Linear(1, 1)}, "torch.nn.modules.linear.Linear"),
  ],
)
def test_what_a_file_also_holds_is_named_on_one_line(extra, name, tmp_path):
  torch.save(read(path_of("hycoclip")) | extra, tmp_path / "a.pth")
  with pytest.raises(ValueError, match=f"also holds [a-z_.]*{name}; ") as error:
    load(tmp_path / "a.pth")
  assert "\n" not in str(error.value)
  assert "\x1b" not in str(error.value)


class Planted:
  def __init__(self, trace):
    self.trace = trace

  def __reduce__(self):
    return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("kind", ["torch", "pickle", "zip"])
def test_malicious_file_leaves_no_trace(kind, tmp_path):
  path, trace = tmp_path / "a.pth", tmp_path / "trace"
  if kind == "torch":
    torch.save({"model": Planted(trace)}, path)
  elif kind == "pickle":
    path.write_bytes(pickle.dumps({"model": Planted(trace)}))
  else:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
      file.writestr("a/data.pkl", pickle.dumps(Planted(trace)))
  with pytest.raises(ValueError, match=r"a\.pth: .*nothing in it was run"):
    load(path)
  assert not trace.exists()


def test_lying_sizes_are_refused(tmp_path):
  data = bytearray(path_of("clip").read_bytes())
  entry = data.rindex(b"PK\x01\x02")  # of the zip's directory
  data[entry + 24 : entry + 28] = (4_000_000_000).to_bytes(4, "little")
  (tmp_path / "a.pth").write_bytes(data)
  with pytest.raises(ValueError, match=r"claims to be .*\(4,000,000,000 bytes"):
    load(tmp_path / "a.pth")


def test_no_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"a\.pth: no such file"):
    load(tmp_path / "a.pth")


def test_heads_of_an_unpublished_width_are_asked_for():
  with pytest.raises(ValueError, match=r"width 64 .*give vision_heads"):
    torch_checkpoint.load(path_of("clip"))
