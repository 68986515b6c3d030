"""TensorBoard and Weights & Biases show a run in groups."""

import json
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.training import boards, histograms, log, pictures
from hyperclip_jax.training.options import Wandb
from tests.training.test_log import events

HISTOGRAMS = {
  "gradients/a": histograms.Histogram(
    np.array([2, 3]), np.array([-1.0, 0.0, 2.0])
  )
}
CONFIG = {"steps": 6, "optim.lr": 0.5, "system": "clip", "fsdp": True, "b": ()}


@pytest.mark.parametrize(
  ("name", "wanted"),
  [
    ("loss", "loss/total"),
    ("entailment_loss", "loss/entailment"),
    ("grad_norm", "optimizer/grad_norm"),
    ("data_share", "speed/data_share"),
    ("seconds", "speed/seconds"),
    ("bad_records", "data/bad_records"),
    ("curv", "model/curv"),
    ("eval/retrieval/i2t_r1", "eval/retrieval/i2t_r1"),
  ],
)
def test_related_metrics_share_a_group(name, wanted):
  assert boards.tag(name) == wanted


def record(parts=()):
  return Record("key", "a caption of a picture", b"", tuple(parts), {})


def test_counts_are_numpys():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(3, 500)) * 10.0 ** rng.integers(-9, 5, (3, 500))
  values = np.concatenate([values, np.zeros((3, 4))], axis=1, dtype=np.float32)
  edges = histograms.EDGES.copy()
  edges[[0, -1]] = -np.inf, np.inf
  found = histograms.count(jnp.asarray(values))
  np.testing.assert_array_equal(found, np.histogram(values, edges)[0])
  assert found[histograms.BINS // 2] == (abs(values) < 2.0**-24).sum()
  broken = histograms.count(jnp.asarray([jnp.nan, -jnp.inf, jnp.inf]))
  assert (broken[0], broken[-1], broken.sum()) == (1, 2, 3)


def test_gradients_are_counted_every_few_steps():
  tree = {"a": {"kernel": jnp.ones((2, 3))}, "b": jnp.zeros(4)}
  for step, some in ((0, False), (1, True), (2, False), (3, True)):
    found = histograms.every(2, jnp.asarray(step), tree)
    assert {name: int(row.sum()) for name, row in found.items()} == (
      {"a/kernel": 6, "b": 4} if some else {"a/kernel": 0, "b": 0}
    )
  ones = histograms.read(found)["gradients/a/kernel"]
  assert (ones.counts.tolist(), ones.edges.tolist()) == ([6], [1, 2])


def test_boxes_and_texts_are_drawn():
  image = np.full((60, 80, 3), 200, np.uint8)
  parts = [Part("left", (0.0, 0.25, 0.5, 1.0)), Part("rest", (0.5, 0, 1, 1))]
  found = pictures.draw(image, record(parts))
  height = round(pictures.SIDE * 60 / 80)
  assert found.shape == (height + 3 * pictures.LINE + 4, pictures.SIDE, 3)
  assert found.dtype == np.uint8
  colour = Image.new("RGB", (1, 1), pictures.COLOURS[0]).getpixel((0, 0))
  np.testing.assert_array_equal(found[height // 4 + 1, 40], colour)
  np.testing.assert_array_equal(found[height // 2, 80], [200] * 3)
  assert (found[height + 2 :] < 128).any()  # letters
  thin = pictures.draw(np.zeros((1, 400, 3), np.uint8), record(parts))
  assert thin.shape[1] == pictures.SIDE


def test_tensorboard_has_the_config_and_pictures(tmp_path):
  shown = {"examples/eval_0": np.zeros((8, 9, 3), np.uint8)}
  with log.Writer(tmp_path, 3) as writer:
    writer.describe(CONFIG)
    writer.pictures(shown)
    writer.histograms(3, HISTOGRAMS)
  (found,) = events(tmp_path)
  values = {v.tag: v for event in found for v in event.summary.value}
  assert values["examples/eval_0"].image.width == 9
  shown = values["gradients/a"].histo
  assert (shown.min, shown.max, shown.num) == (-1, 2, 5)
  assert (list(shown.bucket), list(shown.bucket_limit)) == ([2, 3], [0, 2])
  text = values["config/text_summary"].tensor.string_val[0].decode()
  assert "| optim.lr | `0.5` |" in text
  start = values["_hparams_/session_start_info"].metadata.plugin_data.content
  for name in CONFIG:
    assert name.encode() in start
  assert {event.step for event in found if event.summary.value} == {3}


class Recorded:
  """Stands in for wandb, and records what it is told."""

  def __init__(self, path):
    self.path, self.config = path, self
    self.rows: list = []

  def init(self, **given):
    self.given = given
    return self

  def update(self, config, allow_val_change):
    assert allow_val_change
    self.rows.append(config)

  def log(self, values, step):
    self.rows.append({"step": step, **values})

  def finish(self):
    self.rows.append("finished")


def test_weights_and_biases_goes_on_with_a_run(tmp_path, monkeypatch):
  ids = []
  for step in (0, 2):
    told = Recorded(tmp_path)
    module = types.SimpleNamespace(
      init=told.init,
      Settings=dict,
      Image=np.shape,
      Histogram=lambda np_histogram: list(map(list, np_histogram)),
      errors=types.SimpleNamespace(Error=ZeroDivisionError),
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    options = Wandb(project="mine", mode="offline")
    with log.Writer(tmp_path, step, options) as writer:
      writer.describe(CONFIG)
      writer.pictures({"a": np.zeros((8, 9, 3), np.uint8)})
      writer.histograms(step + 1, HISTOGRAMS)
      writer.write(step + 1, {"loss": 2.0, "curv": 1.0})
    assert told.rows == [
      CONFIG,
      {"step": step, "a": (8, 9, 3)},
      {"step": step + 1, "gradients/a": [[2, 3], [-1, 0, 2]]},
      {"step": step + 1, "loss/total": 2.0, "model/curv": 1.0},
      "finished",
    ]
    ids.append(told.given["id"])
    assert told.given["resume"] == "allow"
    assert told.given["project"] == "mine"
    assert told.given["entity"] is None
    assert told.given["name"] == tmp_path.name
  assert ids[0] == ids[1]


def test_a_service_that_refuses_is_one_message(tmp_path, monkeypatch):
  def refuse(**given):
    raise ZeroDivisionError("no key")

  module = types.SimpleNamespace(
    init=refuse,
    Settings=dict,
    errors=types.SimpleNamespace(Error=ZeroDivisionError),
  )
  monkeypatch.setitem(sys.modules, "wandb", module)
  with pytest.raises(OSError, match=r"config\.wandb: no key; log in by"):
    boards.WeightsAndBiases(tmp_path, Wandb(project="mine"))
  monkeypatch.setitem(sys.modules, "wandb", None)
  with pytest.raises(ImportError, match=r"pip install 'hyperclip-jax\[wandb\]"):
    boards.imported()


def test_the_real_package_works_offline(tmp_path, monkeypatch):
  pytest.importorskip("wandb")
  monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "own"))
  options = Wandb(project="mine", mode="offline")
  with log.Writer(tmp_path, 0, options) as writer:
    writer.describe(CONFIG)
    writer.pictures({"a": np.zeros((8, 9, 3), np.uint8)})
    writer.histograms(1, HISTOGRAMS)
    writer.write(1, {"loss": 2.0})
  assert [*tmp_path.glob("wandb/offline-run-*/*.wandb")]
  assert json.loads((tmp_path / log.FILE).read_text())["loss"] == 2.0
