"""CLIP-Rocket: views, statistics, the moving average, and its losses' parts."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import hyperclip_jax
from hyperclip_jax.data.feed.views import View
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.geometry.spaces import Sphere
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.sections import SectionError, build, lasting
from hyperclip_jax.systems import rocket
from hyperclip_jax.systems.rocket import train as rocket_train
from hyperclip_jax.systems.rocket.options import VARIANTS, Strong, Vision
from hyperclip_jax.systems.rocket.recipe import recipe
from hyperclip_jax.systems.rocket.towers import Towers
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import (
  config_tree,
  runs,
  train,
)
from tests import meshes, small

pytestmark = pytest.mark.usefixtures("standard_promotion")


@functools.cache
def options(variant="clip_rocket", **changes) -> rocket.Options:
  """Options of a small model of 16-pixel images."""
  config = small.config("rocket")
  config.model.image_size = 16
  config.model.vision.depth = config.model.text.depth = 1
  config.model.variant = variant
  config.model.smoothing = 0.0 if variant == "swalip" else 0.1
  made = config_lib.options(config)
  return dataclasses.replace(made, **changes)


def batch(rows=8, count=2, length=8):
  """Random pixels and tokens of a weak view and `count` strong ones."""
  rng = np.random.default_rng(0)

  def view(rows):
    tokens = rng.integers(1, 400, (rows, length)).astype(np.int32)
    tokens[:, -1] = options().text.vocab - 1
    images = rng.random((rows, 16, 16, 3)).astype(np.float32)
    return {"image": jnp.asarray(images), "text": jnp.asarray(tokens)}

  found = {"weak": view(rows)}
  return found | ({"strong": view(rows * count)} if count else {})


@functools.cache
def start(o):
  """The task and its variables."""
  task = rocket.task(o, View(lengths=(8, 32)), meshes.mesh())
  return task, jax.jit(task.init)(jax.random.key(0))


@functools.cache
def embedded(o):
  task, variables = start(o)
  embed = jax.jit(task.embed)
  return embed(variables, batch(count=o.strong_count), jax.random.key(1))


def record(**meta):
  return Record("key", "the cat on the mat", b"", (), meta)


def show(o, numbers, **meta):
  display = rocket_train.display(o, View())
  found: Any = display.show(record(**meta), np.asarray(numbers))
  assert display.draws == len(numbers)
  return {name: [part.text for part in parts] for name, parts in found.items()}


def test_views_are_one_decoded_picture_with_edited_texts():
  o = options()
  views = rocket_train.display(o, View()).views
  assert views["weak"] == View()
  strong = views["strong"]
  assert (strong.count, strong.crop, strong.canvas) == (2, (0.08, 1.0), "weak")
  assert strong.distortions == o.strong.distortions
  numbers = [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
  found = show(o, numbers)
  assert found == show(o, numbers)
  assert found["weak"] in (["the cat on the mat"], ["cat mat"])
  assert len(found["strong"]) == 2
  texts = {tuple(show(o, [0, 0, 0, s / 50, s / 50, 0.5])["strong"])
           for s in range(50)}  # fmt: skip
  assert len(texts) > 3
  only = show(options("clip"), [0.0, 0.7])
  assert only.keys() == {"weak"}


def test_strong_views_may_be_those_of_byol():
  o = options(strong=Strong(kind="byol"))
  views = rocket_train.display(o, View()).views
  assert list(views) == ["weak", "strong", "strong_2"]
  one, other = (views[name].distortions for name in ("strong", "strong_2"))
  assert (one.blur, one.solarize, one.saturation) == (1.0, 0.0, 0.2)
  assert (other.blur, other.solarize, other.saturation) == (0.1, 0.2, 0.2)
  numbers = [0.0, 0.0, 0.0, 0.1, 0.2, 0.3]
  found, alike = show(o, numbers), show(options(), numbers)
  assert [*found["strong"], *found["strong_2"]] == alike["strong"]
  data = batch()
  apart = {
    "weak": data["weak"],
    "strong": {k: x[::2] for k, x in data["strong"].items()},
    "strong_2": {k: x[1::2] for k, x in data["strong"].items()},
  }
  for kind in ("image", "text"):
    both = rocket_train._strong(apart, kind), rocket_train._strong(data, kind)
    for a, b in zip(*both, strict=True):
      np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("draw", ["multi", "single"])
def test_captions_of_several_fields(draw):
  plain = dataclasses.replace(
    options().edits, stop_words=0.0, swap=0.0, delete=0.0, keep=1.0
  )
  fields = ("title", "description", "absent")
  captions = dataclasses.replace(options().captions, fields=fields, draw=draw)
  o = options(edits=plain, captions=captions)
  meta = {"title": "one", "description": ["two", " ", 3, "three"]}
  found = show(o, [0.1, 0.5, 0.9, 0, 0, 0], **meta)
  strong = {"multi": ["two", "three"], "single": ["one", "one"]}[draw]
  assert found == {"weak": ["one"], "strong": strong}
  assert show(o, [0.0] * 6)["weak"] == ["the cat on the mat"]


# The others take steps in `test_rocket_golden` and `test_every`.
@pytest.mark.slow
@pytest.mark.parametrize(
  "variant", ["clip", "barlip", "byolip", "swalip", "swalip_v1"]
)
def test_a_variant_has_its_terms_and_gradients(variant):
  o = options(variant)
  task, variables = start(o)
  data = batch(count=o.strong_count)

  @jax.jit
  def loss(params, step):
    outputs, new = task.embed(
      {**variables, "params": params}, data, jax.random.key(1)
    )
    value, terms = task.loss(params, outputs, step)
    return value, (terms, new)

  grad = jax.jit(jax.value_and_grad(loss, has_aux=True))
  (value, (terms, new)), grads = grad(variables["params"], jnp.int32(0))
  assert np.isfinite(value)
  extra = {
    "barlip": "barlow_loss", "byolip": "siam_loss", "swalip": "swap_loss",
    "swalip_v1": "swap_loss",
  }.get(variant)  # fmt: skip
  weight = o.swap.weight if extra == "swap_loss" else 1
  wanted = terms["contrastive_loss"] + (weight * terms[extra] if extra else 0)
  np.testing.assert_allclose(value, wanted, rtol=1e-6)
  assert task.micro_batches == ("batch_stats" not in variables)
  assert jax.tree.structure(new) == jax.tree.structure(variables)
  zero = {
    "/".join(key.key for key in path)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads)
    if not np.abs(grad).max() > 0
  }
  frozen = {"prototypes"} if variant == "swalip_v1" else set()
  assert zero == frozen
  if frozen:
    grads = grad(variables["params"], jnp.int32(o.swap.frozen))[1]
    assert np.abs(grads["prototypes"]).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["clip", "clip_rocket"])
def test_without_strong_views_the_loss_is_that_of_clip(variant):
  o = options(variant, strong=Strong(count=0))
  task, variables = start(o)
  outputs, _ = embedded(o)
  loss, _ = task.loss(variables["params"], outputs, jnp.int32(0))
  e, data = rocket.encoder(o), batch(count=0)["weak"]
  x = Sphere().lift(e.image(variables, data["image"]))
  y = Sphere().lift(e.text(variables, data["text"]))
  logits = np.asarray(e.scale(variables["params"]) * Sphere().pairwise(x, y))
  logs = [jax.nn.log_softmax(rows) for rows in (logits, logits.T)]
  wanted = -np.mean([np.diagonal(rows) for rows in logs])
  np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_sum_is_twice_the_average_and_strong_smoothing_counts():
  outputs, _ = embedded(options())
  params = start(options())[1]["params"]

  def loss(**changes):
    o = options(**changes)
    return float(rocket_train.terms(o, params, outputs, jnp.int32(0))[0])

  np.testing.assert_allclose(loss(reduction="sum"), 2 * loss(), rtol=1e-6)
  assert abs(loss(smoothing=0.0) - loss()) > 1e-4


@pytest.mark.slow
def test_the_published_gradients_can_be_had():
  o = options("barlip")
  outputs, _ = embedded(o)

  def grads(grad, query):
    barlow = dataclasses.replace(o.barlow, grad=grad)
    chosen = dataclasses.replace(o, barlow=barlow, gather_grad=query)
    params = start(o)[1]["params"]

    def loss(outputs):
      return rocket_train.terms(
        chosen, params, outputs, jnp.int32(0), devices=4
      )[0]

    return jax.value_and_grad(loss)(outputs)

  (loss, ours), (same, theirs) = (
    grads("true", "full"),
    grads("official", "query"),
  )
  np.testing.assert_allclose(same, loss, rtol=1e-6)
  v, w = ours["online"].heads, theirs["online"].heads
  np.testing.assert_allclose(
    4 * w.weak.image, v.weak.image, rtol=1e-4, atol=1e-9
  )
  z, y = ours["online"].projected, theirs["online"].projected
  assert np.abs(z.weak.image - y.weak.image).max() > 1e-5


def test_weak_views_have_no_dropout_and_strong_views_have():
  text = dataclasses.replace(options().text, dropout=0.5)
  plain, dropped = options(), options(text=text)
  _, variables = start(plain)
  outputs = []
  for o in (plain, dropped):
    found, _ = jax.jit(start(o)[0].embed)(variables, batch(), jax.random.key(1))
    outputs.append(found["online"].projected)
  np.testing.assert_array_equal(outputs[0].weak.text, outputs[1].weak.text)
  assert np.abs(outputs[0].strong[0].text - outputs[1].strong[0].text).max() > 0


@pytest.mark.slow
def test_running_statistics_are_of_each_view_in_order():
  o = options("byolip")
  _, variables = start(o)
  data = batch()
  _, new = embedded(o)
  towers: Any = Towers(o)
  mean = new["batch_stats"]["visual_norm_strong"]["mean"]
  own = {k: v for k, v in variables.items() if k != "ema"}
  rows = data["strong"]["image"].reshape(8, 2, 16, 16, 3)
  images = [data["weak"]["image"], rows[:, 0], rows[:, 1]]
  texts = [data["weak"]["text"]] * 3

  def before_the_norm(images, texts):
    seen = []

    def watch(call, args, kwargs, context):
      if context.module.name == "visual_norm_strong":
        seen.append(args[0].mean(axis=0))
      return call(*args, **kwargs)

    with nn.intercept_methods(watch):
      towers.apply(
        own, images, texts, method="in_training", mutable=["batch_stats"]
      )
    return seen

  first, second = before_the_norm(images, texts)
  np.testing.assert_allclose(
    mean, 0.9 * 0.1 * first + 0.1 * second, rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize("decay", [0.0, 0.99, 1.0])
def test_the_target_moves_before_the_scales_are_bounded(decay):
  siam = dataclasses.replace(options().siam, decay=decay)
  o = options("byolip", siam=siam)
  task, variables = start(o)
  moved = jax.tree.map(lambda x: x + 7, variables["params"])
  found = task.project({**variables, "params": moved})
  jax.tree.map(
    lambda ema, old, new: np.testing.assert_allclose(
      ema, decay * old + (1 - decay) * new, rtol=1e-5, atol=1e-6
    ),
    found["ema"]["params"],
    variables["params"],
    moved,
  )
  scale = float(jnp.exp(found["params"]["logit_scale"]))
  assert scale == pytest.approx(100.003, rel=1e-4)
  assert found["ema"]["batch_stats"] is variables["ema"]["batch_stats"]


def test_the_target_starts_as_a_copy_and_keeps_its_own_statistics():
  o = options("byolip")
  _, variables = start(o)
  jax.tree.map(
    np.testing.assert_array_equal,
    variables["ema"]["params"],
    variables["params"],
  )
  outputs, new = embedded(o)
  # Without dropout both see the same, the first time.
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
    outputs["target"],
    outputs["online"].heads,
  )
  assert np.any(new["ema"]["batch_stats"]["visual_norm"]["mean"])


def test_embeddings_are_an_ensemble_of_both_projectors():
  e, data = rocket.encoder(options()), batch()["weak"]
  _, variables = start(options())
  rows = np.asarray(e.image(variables, data["image"]))
  assert rows.shape == (8, e.width) == (8, 32)
  z, h = np.split(rows, 2, axis=1)
  for weight, wanted in ((1.0, z), (0.0, h)):
    space = rocket.encoder(options(ensemble=weight)).space({})
    x = space.lift(rows)
    unit = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(space.pairwise(x, x), unit @ unit.T, atol=1e-6)
  assert type(rocket.encoder(options("clip")).space({})) is Sphere
  assert rocket.encoder(options("clip")).width == 16
  shared = options(separate_proj=False)
  assert rocket.encoder(shared).width == 16
  assert not shared.keeps_statistics


@pytest.mark.parametrize("variant", ["byolip", "swalip_v1"])
def test_all_variables_are_released(variant, tmp_path):
  o = options(variant)
  _, variables = start(o)
  model = HyperCLIP("rocket", o, variables)
  model.save_pretrained(tmp_path / "release")
  found = hyperclip_jax.load(tmp_path / "release")
  assert found.options == o
  jax.tree.map(np.testing.assert_array_equal, found.variables, model.variables)
  kept = {"params", "batch_stats"} | ({"ema"} if variant == "byolip" else set())
  assert set(model.variables) == kept


def test_micro_batches_are_refused_where_statistics_are_kept(tmp_path):
  config = small.config("rocket")
  config.micro_batches = 2
  with pytest.raises(ValueError, match="micro_batches must be 1, found 2"):
    train.first_state(runs.prepare(config, tmp_path))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"variant": "swalip"}, "smoothing must be 0 for swalip, found 0.1"),
    (
      {"variant": "swalip", "smoothing": 0.0, "strong": {"count": 3}},
      "strong.count must be 2 for swalip, whose two views .* found 3",
    ),
    (
      {"strong": {"image_size": 192}},
      "strong.image_size must be 0 or 224, as a ViT's .* found 192",
    ),
    (
      {"strong": {"kind": "byol", "count": 3}},
      "count must be 2 for the views of byol, found 3",
    ),
    ({"image_size": 50}, "image_size must be a multiple of the patch"),
    ({"variant": "rocket"}, "variant must be one of clip, clip_rocket"),
  ],
)
def test_options_are_checked(changes, message):
  with pytest.raises(SectionError, match=message):
    build(rocket.Options, changes)


def test_reports_name_the_image_tower():
  assert str(Vision(tower="resnet")) == "ResNet-50 of width 2048"
  assert str(Vision()) == "12 layers of 768, patches of 16 px"


def test_options_of_training_do_not_change_the_model():
  names = lasting(rocket.Options())
  assert {"ensemble", "vision.tower", "variant"} <= names.keys()
  assert not [name for name in names if name.startswith(("strong", "edits"))]


RECIPES = {
  # text layers and dropout, decay, rate, reduction, cleaning, steps
  "cc3m": (6, 0.2, 0.5, 3e-3, "avg", False, 25_760),
  "cc12m": (12, 0.05, 0.1, 3e-3, "sum", False, 96_864),
  "yfcc15m": (12, 0.0, 0.1, 3e-3, "sum", True, 117_184),
  "29m": (12, 0.0, 0.1, 2e-3, "sum", True, 226_560),
}


@pytest.mark.parametrize("data", RECIPES)
def test_recipes_are_those_of_the_table(data):
  config = config_tree.load(f"configs/rocket_{data}.py")
  config_lib.validate(config, devices=8)
  model, optim = config.model, config.optim
  found = (
    model.text.depth, model.text.dropout, optim.weight_decay,
    optim.learning_rate, model.reduction, model.edits.clean, config.steps,
  )  # fmt: skip
  assert found == RECIPES[data]
  assert (optim.b1, optim.b2, optim.eps) == (0.9, 0.98, 1e-8)
  assert (config.batch_size, optim.start, optim.end) == (4096, 1e-6, 1e-5)
  assert optim.warmup * 32 == config.steps
  assert (model.vision.tower, model.embed_dim) == ("resnet", 256)
  assert model.smoothing == 0.1
  assert model.strong.image_size == (192 if data == "29m" else 0)
  edits = model.edits
  stop = 0.9 if data == "yfcc15m" else 0.8
  assert (edits.stop_words, edits.synonym, edits.swap, edits.delete) == (
    stop, 0.4, 0.4, 0.2,
  )  # fmt: skip


def test_recipes_of_variants_and_towers():
  barlip = recipe(config_lib.paper("rocket"), "cc12m", "barlip,vits16")
  assert barlip.model.text.dropout == 0.1
  assert barlip.model.separate_head
  assert barlip.model.vision.heads == 12
  assert (
    recipe(
      config_lib.paper("rocket"), "yfcc15m", "barlip,vits16"
    ).model.edits.stop_words
    == 0.8
  )
  assert (
    recipe(config_lib.paper("rocket"), "cc3m", "swalip").model.smoothing == 0
  )
  assert (
    recipe(config_lib.paper("rocket"), "cc3m", "clip").model.edits.synonym == 0
  )
  for variant in VARIANTS:
    for tower in ("r50", "vitb32"):
      config = recipe(config_lib.paper("rocket"), "29m", f"{variant},{tower}")
      config_lib.validate(config, devices=8)
  with pytest.raises(ValueError, match="found 'rocket,r50'"):
    recipe(config_lib.paper("rocket"), "cc3m", "rocket,r50")


def test_missing_wordnet_is_named_before_any_work(tmp_path):
  config = small.config("rocket")
  config.model.edits.update(synonym=0.4, wordnet=str(tmp_path))
  with pytest.raises(FileNotFoundError, match=r"no WordNet, as index\.noun"):
    runs.prepare(config, tmp_path / "run").task  # noqa: B018


def test_the_tiny_config_is_valid():
  config = config_tree.load("configs/shapes_tiny.py:rocket")
  config_lib.validate(config, devices=1)
