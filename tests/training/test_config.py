"""A bad config is refused with every bad value named."""

import math

import pytest

from hyperclip_jax import systems
from hyperclip_jax.training import config as config_lib

BAD = [
  ("steps", 0),
  ("batch_size", -8),
  ("batch_size", 12),  # 8 devices
  ("optim.learning_rate", math.nan),
  ("optim.weight_decay", -0.1),
  ("optim.b2", 1.0),
  ("optim.warmup", 500_001),
  ("model.embed_dim", 0),
  ("model.image_size", 225),
  ("model.vision.heads", 7),
  ("model.text.heads", 9),
  ("model.dtype", "float16"),
  ("data.canvas", -1),
  ("data.crop_scale", (0.9, 0.5)),
  ("data.crop_scale", (0.5, math.nan)),
  ("data.text_buckets", (32, 16, 77)),
  ("data.crop_scale", (0.9,)),
  ("data.crop_scale", (0.5, 0.8, 1.0)),
  ("data.crop_scale", ("a", "b")),
  ("data.crop_scale", ()),
  ("data.text_buckets", (16, 32)),
  ("data.text_buckets", ("8", 77)),
  ("data.text_buckets", (0, 77)),
  ("data.text_buckets", (8.0, 77)),
  ("data.weights", ("a",)),
  ("data.weights", (math.nan,)),
  ("data.shards", ""),
  ("data.weights", (1.0, 2.0)),  # of one glob
  ("data.weights", (-1.0,)),
  ("data.on_bad_shard", "ignore"),
  ("data.max_bad", -0.5),
  ("data.parts_per_image", 0),
  ("data.distortions.flip", 1.5),
  ("mesh.model", 3),
  ("micro_batches", 0),
  ("micro_batches", 5),  # of 96 examples on a device
  ("model.remat", "some"),
  ("optim.b2", 0.99999999),
  ("optim.eps", 1e-30),
  ("optim.learning_rate", 1e30),
  ("optim.weight_decay", 2001.0),
  ("seed", 2**32),
  ("steps", 10**19),
  ("model.vision.depth", 10**6),
  ("model.text.width", 2**20),
  ("system", "siglip"),
  ("system", "os.path"),
  ("model.contrast", "fast"),
  ("model.entail_weight", -0.1),
  ("model.pixel_std", (0.0, 1.0, 1.0)),
  ("checkpoint.every", 0),
]


@pytest.mark.parametrize("system", systems.names())
@pytest.mark.parametrize("vit", ["S", "B", "L"])
def test_the_papers_recipes_are_valid(system, vit):
  config_lib.validate(config_lib.paper(system, vit), devices=8)
  options = config_lib.options(config_lib.paper(system, vit))
  assert options.vision.width == {"S": 384, "B": 768, "L": 1024}[vit]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_is_named(name, value):
  config = config_lib.paper()
  with config.unlocked():
    config.update_from_flattened_dict({name: value})
  with pytest.raises(ValueError, match=f"config.{name}") as error:
    config_lib.validate(config, devices=8)
  found = value if value != "" else "empty"
  assert str(found) in str(error.value)


def test_all_bad_values_are_named_at_once():
  config = config_lib.paper()
  config.steps, config.optim.learning_rate = -1, math.inf
  with pytest.raises(ValueError, match=r"config\.steps") as error:
    config_lib.validate(config, devices=1)
  assert "config.optim.learning_rate" in str(error.value)


def test_a_source_that_would_hardly_come_is_refused():
  config = config_lib.paper()
  config.data.shards = "a/*.tar,b/*.tar"
  config.data.weights = (1.0, 1e-7)
  with pytest.raises(ValueError, match=r"weights must .*found \(1.0, 1e-07\)"):
    config_lib.validate(config, devices=8)
  config.data.weights = (1.0, 1e-4)
  config_lib.validate(config, devices=8)


def test_unrolled_blocks_cannot_be_computed_again():
  config = config_lib.paper()
  config.model.unroll, config.model.remat = True, "dots"
  with pytest.raises(ValueError, match=r"unroll must be False .*'dots'"):
    config_lib.validate(config, devices=8)


def test_an_unknown_system_lists_the_known():
  with pytest.raises(ValueError, match=r"hycoclip.*'siglip'"):
    config_lib.paper("siglip")


def test_the_modules_that_systems_share_are_none():
  for name in ("task", "sizes", "dual_encoder"):
    with pytest.raises(
      ValueError, match="must be one of atmg, classifier, clip, "
    ):
      config_lib.paper(name)


def test_a_system_of_another_package_must_be_allowed():
  config = config_lib.paper()
  overrides = [("system", "nowhere.to.be.found")]
  with pytest.raises(ValueError, match=r"allow it by --config\.trust_system"):
    config_lib.override(config, overrides)
  overrides.append(("trust_system", "true"))
  with pytest.raises(
    ValueError, match=r"'nowhere\.to\.be\.found': Python finds no such module"
  ):
    config_lib.override(config_lib.paper(), overrides)


def test_another_system_takes_what_its_options_share():
  config = config_lib.paper("hycoclip", "S")
  config.model.entail_weight = 0.02
  config_lib.override(
    config, [("model.image_size", "112"), ("system", "meru"), ("seed", "3")]
  )
  assert (config.system, config.seed, config.model.image_size) == (
    "meru",
    3,
    112,
  )
  assert config.model.vision.width == 384
  assert config.model.entail_weight == 0.02
  assert "inter_aperture_scale" not in config.model
  config_lib.override(config, [("system", "clip")])
  assert "entail_weight" not in config.model
  config_lib.validate(config, devices=8)


def test_options_of_another_system_are_refused():
  config = config_lib.paper("hycoclip")
  config.system = "clip"
  with pytest.raises(ValueError, match=r"config.model.entail_weight: no such"):
    config_lib.validate(config, devices=8)


def test_shapes_follow_their_folder():
  config = config_lib.paper()
  config_lib.add_shapes(config, config_lib.Shapes(folder="here"))
  assert (config.data.shards, config.data.held_out) == (
    "here/train",
    "here/val",
  )
  config_lib.override(config, [("shapes.folder", "there")])
  assert config.data.shards == "there/train"
  config_lib.validate(config, devices=8)
  config.shapes.train = -1
  with pytest.raises(ValueError, match=r"config\.shapes\.train must be"):
    config_lib.validate(config, devices=8)


def test_a_name_that_a_tower_does_not_take_is_named():
  config = config_lib.paper()
  config.model.vision.hedas = 12
  with pytest.raises(ValueError, match=r"hedas: no such value, did you mean"):
    config_lib.validate(config, devices=8)
