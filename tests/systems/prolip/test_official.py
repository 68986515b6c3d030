"""The published layout, both ways."""

import copy
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hyperclip_jax
from hyperclip_jax.checkpoints import tensors
from hyperclip_jax.geometry import gaussian
from hyperclip_jax.systems import prolip
from hyperclip_jax.systems.prolip import hub_config, official
from tests.data.feed import pieces
from tests.systems.prolip import golden


@pytest.mark.parametrize("name", ["rand", "init"])
def test_a_model_comes_back_bit_for_bit(name):
  state = golden.state(name)
  o, variables = official.read(state, golden.CONFIG)
  found = official.write(o, variables)
  assert found.keys() == state.keys()
  for key, array in state.items():
    assert found[key].shape == array.shape, key
    np.testing.assert_array_equal(found[key], array, err_msg=key)
  assert hub_config.config(o) == golden.CONFIG
  assert hub_config.options(hub_config.config(o)) == o


def test_its_values_are_those_of_the_config():
  o, _ = golden.model()
  assert (o.image_size, o.embed_dim, o.dtype) == (32, 32, "float32")
  vision, text = o.vision, o.text
  assert (vision.width, vision.depth, vision.heads, vision.patch) == (
    48,
    2,
    3,
    8,
  )
  assert (text.width, text.context, text.vocab, text.norm_eps) == (
    32,
    16,
    128,
    1e-6,
  )
  assert (o.activation, o.text_unc_readout) == ("gelu", "mean")


def test_training_checkpoints_have_a_prefix():
  state = {f"module.{name}": x for name, x in golden.state().items()}
  assert official.matches(state)
  _, variables = official.read(state, golden.CONFIG)
  _, wanted = golden.model()
  np.testing.assert_array_equal(
    variables["params"]["vision"]["unc"], wanted["params"]["vision"]["unc"]
  )


def test_other_models_do_not_match():
  assert official.matches(golden.state())
  assert not official.matches(["logit_scale", "visual.proj"])
  assert not official.matches([])
  with pytest.raises(ValueError, match="no ProLIP: no logit_bias"):
    official.read({"logit_scale": np.zeros(())}, golden.CONFIG)


def test_unknown_and_missing_names_are_listed():
  state = golden.state()
  del state["text.ln_final.bias"]
  state["visual.extra\x1b"] = np.zeros(3)
  with pytest.raises(
    ValueError,
    match=r"missing text\.ln_final\.bias; unexpected visual\.extra\\x1b",
  ):
    official.read(state, golden.CONFIG)


def test_wrong_shapes_are_named():
  state = golden.state()
  state["visual.proj"] = np.zeros((32, 48), np.float32)
  with pytest.raises(
    ValueError, match=r"visual\.proj is \(32, 48\), the model wants \(48, 32\)"
  ):
    official.read(state, golden.CONFIG)


@pytest.mark.parametrize(
  ("place", "value", "message"),
  [
    (
      ("text_cfg", "no_causal_mask"),
      False,
      "no_causal_mask must be True, foun",
    ),
    (("text_cfg", "pool_type"), "argmax", "pool_type must be 'last', found"),
    (("vision_cfg", "embed_unc"), False, "embed_unc must be True, found False"),
    (("vision_cfg", "attn_pool"), True, "vision_cfg has unknown values: attn_"),
    (("text_cfg", "vocab_size"), -3, "vocab_size must be a whole number from"),
    (("vision_cfg", "width"), "48", "width must be a whole number from 1, fo"),
    (("vision_cfg",), 3, "vision_cfg must be an object, found 3"),
    (("other",), 3, "config.json has unknown values: other"),
  ],
)
def test_a_config_that_is_not_understood_is_refused(place, value, message):
  config = copy.deepcopy(golden.CONFIG)
  where = config
  for key in place[:-1]:
    where = where[key]
  where[place[-1]] = value
  with pytest.raises(ValueError, match=message):
    official.read(golden.state(), config)


def test_a_missing_value_is_named():
  config = copy.deepcopy(golden.CONFIG)
  del config["text_cfg"]["width"]
  with pytest.raises(ValueError, match="text_cfg has no width"):
    official.read(golden.state(), config)


def published(vision, text, vocab, context, size, patch, mlp):
  """Empty arrays of the shapes that tell the options of a published model."""

  def empty(*shape):
    return np.broadcast_to(np.float32(0), shape)

  state = {
    "visual.conv1.weight": empty(vision, 3, patch, patch),
    "visual.proj": empty(vision, text),
    "visual.positional_embedding": empty((size // patch) ** 2 + 2, vision),
    "text.cls_emb": empty(text),
    "text.positional_embedding": empty(context + 2, text),
    "text.token_embedding.weight": empty(vocab, text),
  }
  for tower, width, hidden in (
    ("visual", vision, mlp[0]),
    ("text", text, mlp[1]),
  ):
    for layer in range(3):
      name = f"{tower}.transformer.resblocks.{layer}.mlp.c_fc.weight"
      state[name] = empty(hidden, width)
  return state


def test_published_models_are_known_without_a_config():
  o = hub_config.guessed(published(768, 768, 32_100, 64, 224, 16, (3072, 3072)))
  assert (o.vision.heads, o.text.heads, o.activation) == (12, 12, "gelu")
  assert o.tokenizer == "hf-hub:timm/ViT-B-16-SigLIP"
  assert (o.image_size, o.text.norm_eps, o.text.depth) == (224, 1e-6, 3)
  o = hub_config.guessed(
    published(1152, 1152, 32_100, 64, 224, 14, (4304, 4304))
  )
  assert o.tokenizer == "hf-hub:timm/ViT-SO400M-14-SigLIP"
  assert int(o.vision.width * o.vision.mlp_ratio) == 4304
  o = hub_config.guessed(
    published(1280, 1024, 49_408, 77, 224, 14, (5120, 4096))
  )
  assert (o.vision.heads, o.text.heads) == (16, 16)
  assert (o.activation, o.tokenizer, o.text.norm_eps) == (
    "quick_gelu",
    "",
    1e-5,
  )
  with pytest.raises(ValueError, match=r"widths of 48 and 32 .* vision_heads"):
    official.read(golden.state())


def test_the_other_read_out_has_no_official_form():
  o, variables = golden.model()
  o = dataclasses.replace(o, text_unc_readout="unc")
  with pytest.raises(ValueError, match="no model of text_unc_readout='unc'"):
    official.write(o, variables)


def test_heads_can_be_given_without_a_config():
  heads = {"vision_heads": 3, "text_heads": 2}
  o, variables = official.read(golden.state(), heads)
  wanted, _ = golden.model()
  assert o == wanted
  assert variables["params"]["vision"]["unc"].any()


def test_a_folder_of_the_hub_is_used_with_a_tokenizer_beside_it(tmp_path):
  """The layout that is published, from end to end, and back bit for bit."""
  config = tmp_path / "config.json"
  config.write_text(json.dumps(golden.CONFIG))
  tensors.write(tmp_path / "model.safetensors", golden.state(), {})
  pieces.write(tmp_path)
  model = hyperclip_jax.load(tmp_path)
  mini = golden.mini()
  rows = model.encode_text(["a red circle", ""])
  tower = prolip.encoder(model.options).text
  tokens = np.full((2, 16), 1, np.int32)
  tokens[0, :3] = [pieces.IDS[f"▁{w}"] for w in ("a", "red", "circle")]
  wanted = model.space.lift(
    np.asarray(tower(model.variables, jnp.asarray(tokens)))
  )
  np.testing.assert_allclose(rows, wanted, atol=2e-5)
  pixels = mini["images_uint8"][0, :4]
  found = model.encode_image(pixels)
  place = "rand/float32/image"
  golden.assert_relative(gaussian.means(found), mini[f"{place}_mean"], 1e-5)
  golden.assert_relative(gaussian.log_vars(found), mini[f"{place}_l"], 1e-5)
  back = official.write(model.options, model.variables)
  for name, array in golden.state().items():
    np.testing.assert_array_equal(back[name], array)


def test_a_checkpoint_of_the_official_training_is_read(tmp_path):
  torch = pytest.importorskip("torch")
  state = {
    f"module.{name}": torch.from_numpy(np.array(x))
    for name, x in golden.state().items()
  }
  torch.save({"epoch": 3, "state_dict": state}, tmp_path / "epoch_3.pt")
  found = hyperclip_jax.load(tmp_path / "epoch_3.pt", 3, 2)
  assert found.system == "prolip"
  _, wanted = golden.model()
  jax.tree.map(np.testing.assert_array_equal, found.variables, wanted)
