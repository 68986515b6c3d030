"""A bad config is refused with every bad value named."""

import math

import pytest

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
  ("objective.name", "siglip"),
  ("objective.contrast", "fast"),
  ("checkpoint.every", 0),
]


@pytest.mark.parametrize("objective", ["hycoclip", "meru", "clip"])
@pytest.mark.parametrize("vit", ["S", "B", "L"])
def test_the_papers_recipes_are_valid(objective, vit):
  config_lib.validate(config_lib.paper(objective, vit), devices=8)


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


def test_unknown_objective_lists_the_known():
  with pytest.raises(ValueError, match=r"hycoclip.*'siglip'"):
    config_lib.validate(config_lib.paper("siglip"), devices=8)


def test_arguments_of_another_objective_are_refused():
  config = config_lib.paper("hycoclip")
  config.objective.name = "clip"
  with pytest.raises(ValueError, match="--config=FILE:clip"):
    config_lib.validate(config, devices=8)


def test_a_name_that_a_tower_does_not_take_is_named():
  config = config_lib.paper()
  config.model.vision.hedas = 12
  with pytest.raises(ValueError, match=r"hedas: no such value, did you mean"):
    config_lib.validate(config, devices=8)
