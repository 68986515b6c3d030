"""The classifier: labels, loss, heads, and how its logits become nearness."""

import dataclasses
import io
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import hyperclip_jax
from hyperclip_jax import sections
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Part, Record
from hyperclip_jax.evals import held_out
from hyperclip_jax.inference.classify import softmax
from hyperclip_jax.inference.model import HyperCLIP
from hyperclip_jax.sections import SectionError
from hyperclip_jax.systems import classifier
from hyperclip_jax.systems.classifier import labels
from hyperclip_jax.systems.classifier import model as model_lib
from hyperclip_jax.systems.classifier.labels import Labels
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import config_tree, log, runs, sources, train
from tests import small

pytestmark = pytest.mark.usefixtures("standard_promotion")

CLASSES = ("cat", "wild cat", "dog", "c++ (book)")
TINY = classifier.Options(
  classes=CLASSES,
  image_size=8,
  backbone="poincare_resnet",
  vision=model_lib.Vision(8, 1, 2, 4, 0.5),
  resnet=model_lib.Residual(depth=8, blocks=(1, 1, 1), widths=(2, 3, 4)),
  dtype="float32",
)


@pytest.mark.parametrize(
  ("text", "number"),
  [
    ("cat", 1),
    ("A CAT, a cat!", 1),
    ("a wild\n cat", 2),
    ("a wild cat and a cat", 0),
    ("cats", 0),
    ("the c++ (book).", 4),
    ("", 0),
    ("a bird", 0),
  ],
)
def test_a_text_names_one_class_or_none(text, number):
  names = Labels(CLASSES)
  assert names([text], 3).tolist() == [[number, 0, 0]]
  assert names.decode([number]) == ("", *CLASSES)[number]


EDGES = (("tabby", "cat"), ("cat", "animal"), ("dog", "animal"))


@pytest.mark.parametrize(
  ("classes", "text", "number"),
  [
    (("cat", "dog"), "a tabby", 1),
    (("cat", "dog"), "a tabby cat", 1),
    (("cat", "dog"), "an animal", 0),
    (("cat", "dog"), "a dog, an animal", 2),
    (("cat", "dog"), "a tabby and a dog", 0),
    (("plant", "animal"), "a tabby", 2),
    (("cat", "animal"), "a cat", 1),  # a class is itself first
    (("cat", "animal"), "a tabby", 0),  # below two
    (("cat", "animal"), "a dog", 2),
  ],
)
def test_a_node_below_a_class_names_it(classes, text, number):
  assert Labels(classes, EDGES).number(text) == number


def test_names_that_are_written_alike_collide():
  """Composed and decomposed letters are one name, as in texts."""
  with pytest.raises(SectionError, match="found 2 with 1 different"):
    dataclasses.replace(TINY, classes=("caf\u00e9", "cafe\u0301"))


def test_labels_are_read_from_a_file(tmp_path):
  path = tmp_path / "labels.csv"
  path.write_text('cat,animal\n\n"dog, wild",animal\nanimal,thing\nrock\n')
  found = labels.read(path)
  assert found.classes == ("cat", "dog, wild", "rock")
  assert found.edges == (
    ("cat", "animal"),
    ("dog, wild", "animal"),
    ("animal", "thing"),
  )
  assert labels.parents(found.classes, found.edges) == {
    "cat": ("animal",),
    "dog, wild": ("animal",),
    "rock": (),
    "animal": ("thing",),
    "thing": (),
  }


@pytest.mark.parametrize(
  ("text", "message"),
  [
    ("a,b,c", "row 1: want CLASS or CLASS,PARENT, found a,b,c"),
    ("a\nb,", "row 2: want CLASS"),
    ("", "no class"),
    ("a,b\nb,a", "no class"),
  ],
)
def test_bad_label_files(tmp_path, text, message):
  path = tmp_path / "labels.csv"
  path.write_text(text)
  with pytest.raises(ValueError, match=message):
    labels.read(path)


def test_errors_are_measured_in_the_hierarchy_and_unknown_classes_refused():
  """Predictions by hand: a cat as a dog, and a rock."""
  o = dataclasses.replace(TINY, classes=("cat", "dog", "rock"), parents=EDGES)
  model = HyperCLIP("classifier", o, {"params": {}})
  assert model.parents["tabby"] == ("cat",)
  rows = {"cat": (1, 2, 0), "dog": (0, 3, 0), "rock": (0, 0, 1)}
  names = ("cat", "dog", "dog")
  embeddings = {
    "image": np.array([rows[name] for name in names], np.float32),
    "text": model.encode_text(["a cat", "a dog", "a tree"]),
  }
  found = held_out._labelled(model, embeddings)
  assert found["classification"]["top1"] == 0.5
  assert found["hierarchy"]["tie"] == 1.0  # 2 edges, and 0


@pytest.mark.parametrize(
  ("level", "group", "other"),
  [("seen", "open_set", "zero_shot"), ("shapes", "hierarchy", "open_set")],
)
def test_shapes_are_measured_by_what_the_classes_are(level, group, other):
  config = config_tree.load(f"configs/shapes_classes.py:{level}")
  o = dataclasses.replace(
    TINY,
    classes=config.model.classes,
    parents=config.model.parents,
    backbone="vit",
  )
  variables = classifier.encoder(o).init(jax.random.key(0))
  model = HyperCLIP("classifier", o, variables)
  found = held_out.evaluate(model, sources.sample(small.config())).results
  groups = {name.split("/")[1] for name in found}
  assert group in groups
  assert other not in groups
  assert "classification" in groups


def test_a_record_shows_what_names_a_class():
  parts = [Part(text, (0.0, 0.0, 0.5, 0.5)) for text in ("dog", "tree", "cat")]
  names = Labels(CLASSES)

  def shown(caption, parts, number):
    record = Record("key", caption, b"", tuple(parts), {})
    (part,) = classifier.show(names, record, np.array([number]))["whole"]
    return part

  assert shown("a cat with a dog", parts, 0.0).text == "dog"
  assert shown("a cat with a dog", parts, 0.9).text == "cat"
  assert shown("a dog", parts, 0.0) == Part("a dog", WHOLE)
  assert shown("nothing", parts[1:2], 0.5) == Part("nothing", WHOLE)


def test_the_loss_is_that_of_examples_with_a_label():
  logits = jnp.array([[2.0, 0.0], [0.0, 1.0], [5.0, 9.0]])
  loss, shares = classifier.terms(logits, jnp.array([0, 0, -1]))
  wanted = (np.log1p(np.exp(-2)) + np.log1p(np.exp(1))) / 2
  np.testing.assert_allclose(loss, wanted, rtol=1e-6)
  np.testing.assert_allclose(shares["accuracy"], 0.5)
  np.testing.assert_allclose(shares["labelled"], 2 / 3, rtol=1e-6)
  none = jnp.full(3, -1)
  loss = lambda x: classifier.terms(x, none)[0]  # noqa: E731
  assert loss(logits) == 0
  np.testing.assert_array_equal(jax.grad(loss)(logits), 0)


def test_probabilities_are_the_softmax_of_the_logits():
  o = dataclasses.replace(TINY, backbone="vit")
  variables = classifier.encoder(o).init(jax.random.key(0))
  model = HyperCLIP("classifier", o, variables)
  assert model.classes == CLASSES
  pictures = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 3), np.uint8)
  logits = model.encode_image(pictures, lift=False)
  assert np.ptp(logits) > 0.1
  found = model.classify(pictures, list(CLASSES), ["a photo of a {}."])
  np.testing.assert_allclose(found.probabilities, softmax(logits), rtol=1e-5)
  two = model.classify(pictures, ["dog", "wild cat"]).probabilities
  np.testing.assert_allclose(two, softmax(logits[:, [2, 1]]), rtol=1e-5)


@pytest.mark.parametrize("head", model_lib.HEADS)
def test_every_head_gives_logits(head):
  """Shapes for both kinds of backbones; nothing is compiled."""
  for backbone in model_lib.BACKBONES:
    o = dataclasses.replace(TINY, head=head, backbone=backbone)
    net, images = model_lib.Classifier(o), jnp.zeros((2, 8, 8, 3))
    logits, variables = jax.eval_shape(
      lambda net=net, x=images: net.init_with_output(jax.random.key(0), x, True)
    )
    assert logits.shape == (2, 4)
    assert ("batch_stats" in variables) == (backbone != "vit")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"classes": ("a", "A ")}, "classes must be 2 to 65,536 different names"),
    ({"classes": ("a",)}, "classes must be 2 to"),
    ({"resnet": {"depth": 21}}, "resnet.depth must be 6 n"),
    ({"backbone": "vit", "image_size": 9}, "image_size must be a multiple"),
    ({"head": "mlr"}, "head must be one of linear, "),
    (
      {"parents": (("cat",),)},
      "parents must be pairs of a node and its parent",
    ),
    ({"parents": (("cat", "a"), ("a", "cat"))}, "no cycle, found (a|cat) -> "),
    ({"parents": (("Cat", "a"),)}, "parents must have one spelling"),
  ],
)
def test_options_are_checked(changes, message):
  values = dataclasses.asdict(TINY) | changes
  with pytest.raises(SectionError, match=message):
    sections.build(classifier.Options, values)


@pytest.mark.slow
def test_captioned_tars_are_classified(tmp_path):
  """Images with the names of their classes, through training and evaluation."""
  colours = {"red": (220, 30, 30), "green": (20, 200, 40), "blue": (9, 9, 240)}
  rng = np.random.default_rng(0)
  for split, count in (("train", 48), ("val", 24)):
    with tarfile.open(tmp_path / f"{split}.tar", "w") as tar:
      for i in range(count):
        name = [*colours][i % 3]
        noise = rng.integers(0, 30, (8, 8, 3))
        pixels = np.clip(np.array(colours[name]) + noise, 0, 255)
        png = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(png, "png")
        for suffix, data in (("png", png.getvalue()), ("txt", name.encode())):
          member = tarfile.TarInfo(f"{i:04d}.{suffix}")
          member.size = len(data)
          tar.addfile(member, io.BytesIO(data))
  config = small.config("classifier", steps=24)
  del config["shapes"]
  config.model.update(classes=(*colours,), image_size=8, head="lorentz_mlr")
  config.model.vision.update(width=16, depth=1, patch=4)
  config.data.shards = str(tmp_path / "train.tar")
  config.data.held_out = str(tmp_path / "val.tar")
  config.optim.learning_rate = 1e-2
  config.eval_every = 12
  model = train.train(runs.prepare(config, tmp_path / "run"))
  assert model is not None
  rows = log.read(tmp_path / "run")
  (measured,) = (
    row["eval/classification/top1"]
    for row in rows
    if "eval/classification/top1" in row
  )
  assert measured > 0.5
  assert rows[-1]["accuracy"] > 0.9
  assert hyperclip_jax.load(tmp_path / "run").classes == (*colours,)


@pytest.mark.parametrize(
  ("name", "classes"),
  [
    ("poincare_resnet20_cifar10.py", 10),
    ("poincare_resnet32_cifar10.py", 10),
    ("poincare_resnet32_cifar100.py", 100),
    ("digits.py", 10),
    ("digits.py:poincare_mlr", 10),
    ("shapes_classes.py", 96),
    ("shapes_classes.py:seen", 84),
    ("shapes_classes.py:shapes", 12),
    ("shapes_classes.py:families", 3),
  ],
)
def test_recipes_are_valid(name, classes):
  config = config_tree.load(f"configs/{name}")
  config_lib.override(config, [("model.head", "max_separation")])
  config_lib.validate(config, devices=1)
  assert len(config.model.classes) == classes


def test_a_recipe_takes_classes_from_a_file(tmp_path):
  path = tmp_path / "labels.csv"
  path.write_text("cat,animal\ndog,animal\n")
  config = config_tree.load(f"configs/images.py:{path}")
  config_lib.validate(config, devices=1)
  assert config.model.classes == ("cat", "dog")
  assert config.model.parents == (("cat", "animal"), ("dog", "animal"))


def test_shapes_are_named_from_coarse_to_fine():
  config = config_tree.load("configs/shapes_classes.py:families")
  names = Labels(config.model.classes, config.model.parents)
  assert names.decode([names.number("a red circle")]) == "round shape"
  assert names.decode([names.number("a star")]) == "pointed shape"
  assert names.number("a red thing") == 0
