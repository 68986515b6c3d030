"""A loaded model encodes, compares and scores."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import hyperclip_jax
from hyperclip_jax import HyperCLIP, Index, systems
from hyperclip_jax.data.records import images as image_lib
from hyperclip_jax.geometry.spaces import Lorentz
from hyperclip_jax.inference import encoder, inputs, reading
from hyperclip_jax.inference.classify import class_embeddings
from tests import golden_files


@pytest.fixture(scope="module", params=golden_files.OBJECTIVES)
def model(request):
  return HyperCLIP(*golden_files.model(request.param), batch_size=4)


def pictures(count=6, height=40, width=50):
  rng = np.random.default_rng(0)
  return list(rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8))


def test_paths_images_and_arrays_are_the_same(model, tmp_path):
  array = pictures(1)[0]
  Image.fromarray(array).save(tmp_path / "a.png")
  found = model.encode_image(
    [array, Image.fromarray(array), tmp_path / "a.png", f"{tmp_path}/a.png"]
  )
  assert found.shape == (4, 32)
  np.testing.assert_array_equal(found, np.broadcast_to(found[0], (4, 32)))
  # A batch of one is another program, which rounds in its own way.
  alone = model.encode_image(array)
  np.testing.assert_allclose(alone, found[:1], atol=1e-6)


def test_an_array_of_images_is_many(model):
  arrays = pictures(3)
  found = model.encode_image(np.stack(arrays))
  np.testing.assert_array_equal(found, model.encode_image(arrays))
  index = model.index_images(arrays)
  assert len(model.search_image(np.stack(arrays), index, 1)) == 3
  assert len(model.index_images(np.stack(arrays))) == 3


def test_threads_read_files(model, tmp_path, monkeypatch):
  paths = [tmp_path / f"{i}.png" for i in range(6)]
  for path, array in zip(paths, pictures(), strict=True):
    Image.fromarray(array).save(path)
  wanted = model.encode_image(pictures())
  together = threading.Barrier(2)
  decode = inputs.decode_file

  def slow(path):
    together.wait(timeout=10)
    return decode(path)

  monkeypatch.setattr(reading, "THREADS", 2)
  monkeypatch.setattr(inputs, "decode_file", slow)
  np.testing.assert_array_equal(model.encode_image(paths), wanted)
  np.testing.assert_array_equal(model.encode_files(paths).embeddings, wanted)


def test_files_that_cannot_be_read_are_left_out_and_named(model, tmp_path):
  paths = [tmp_path / f"{i}.png" for i in range(7)]
  for path, array in zip(paths, pictures(7), strict=True):
    Image.fromarray(array).save(path)
  for i in range(4):  # all of the first batch
    paths[i].write_bytes(b"<html>" if i % 2 else b"")
  paths[5].unlink()
  found = model.encode_files(paths)
  assert found.names == [str(paths[4]), str(paths[6])]
  assert [*found.left_out] == [str(paths[i]) for i in (0, 1, 2, 3, 5)]
  assert "cannot decode 6 bytes" in found.left_out[str(paths[1])]
  assert "No such file" in found.left_out[str(paths[5])]
  wanted = model.encode_image([paths[4], paths[6]])
  np.testing.assert_allclose(found.embeddings, wanted, atol=1e-6)
  nothing = model.encode_files(paths[:2])
  assert nothing.embeddings.shape == (0, 32)
  assert len(model.index(nothing.embeddings, nothing.names)) == 0
  with pytest.raises(ValueError, match="1 names for 2 images"):
    model.encode_named(["a"], paths[:2])


def test_a_photo_is_embedded_as_it_is_seen(model, tmp_path):
  upright = Image.fromarray(pictures(1)[0])
  exif = Image.Exif()
  exif[0x112] = 6
  stored = upright.transpose(Image.Transpose.ROTATE_90)
  stored.save(tmp_path / "phone.png", exif=exif)
  path = tmp_path / "phone.png"
  wanted = model.encode_image(upright)
  for form in (path, path.read_bytes(), Image.open(path)):
    np.testing.assert_array_equal(model.encode_image(form), wanted)
  found = model.encode_files([path]).embeddings
  np.testing.assert_array_equal(found, wanted)


def test_transparency_is_white_from_a_file_or_not(model, tmp_path):
  colours = np.dstack([pictures(1)[0], np.zeros((40, 50), np.uint8)])
  clear = Image.fromarray(colours)
  clear.save(tmp_path / "a.png")
  found = model.encode_image([clear, tmp_path / "a.png"])
  white = model.encode_image([np.full((40, 50, 3), 255, np.uint8)] * 2)
  np.testing.assert_array_equal(found, white)


@pytest.mark.parametrize(
  "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_arrays_that_are_no_images_are_told(model, array):
  with pytest.raises(ValueError, match=r"uint8 \(height, width, 3\), with"):
    model.encode_image(array)


def test_a_file_that_is_no_image_is_named(model, tmp_path):
  (tmp_path / "notes.txt").write_text("milk")
  with pytest.raises(ValueError, match=r"notes\.txt: .*none of JPEG") as error:
    model.encode_image(tmp_path / "notes.txt")
  assert "BytesIO" not in str(error.value)


def test_encoding_is_the_models_own(model):
  arrays = pictures()
  squares = np.stack([image_lib.center_square(a, 32) for a in arrays])
  towers = systems.find(model.system).encoder(model.options)
  pixels = jnp.asarray(squares, jnp.float32) / 255
  wanted = towers.image(model.variables, pixels)
  np.testing.assert_allclose(
    model.encode_image(arrays, lift=False), wanted, atol=1e-5
  )
  np.testing.assert_allclose(
    model.encode_image(arrays), model.lift(np.asarray(wanted)), atol=1e-5
  )


def test_padding_of_the_last_batch_does_not_show(model):
  texts = ["a cat", "a dog on a mat", "an owl", "one", "two", "three"]
  whole = model.encode_text(texts)
  alone = np.concatenate([model.encode_text(text) for text in texts])
  np.testing.assert_allclose(whole, alone, atol=1e-5)


def test_nothing_in_gives_nothing_out(model):
  assert model.encode_image([]).shape == (0, 32)
  assert model.encode_text([]).shape == (0, 32)


def test_similarity_orders_by_nearness(model):
  x = model.encode_image(pictures())
  scores = model.similarity(x, x)
  assert (scores.argmax(axis=1) == np.arange(len(x))).all()
  assert scores.shape == (6, 6)


def test_entailment_is_inside_the_cone(model):
  if not model.space.cones:
    pytest.skip("CLIP has no cones")
  tangents = model.encode_text(["a cat"], lift=False)
  general, specific = model.lift(tangents), model.lift(1.5 * tangents)
  assert model.entailment_score(general, specific)[0] < 0
  assert model.entailment_score(specific, general)[0] > 0
  distances = model.distance_to_root(np.concatenate([general, specific]))
  assert distances[1] / distances[0] == pytest.approx(1.5, rel=1e-5)


def test_clip_scores_are_cosines():
  model = HyperCLIP(*golden_files.model("clip"))
  x = model.encode_image(pictures())
  np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-6)
  np.testing.assert_allclose(model.entailment_score(x, x), -1, rtol=1e-5)


def test_the_root_is_a_point_chosen_once(model):
  x = model.encode_image(pictures())
  found = model.distance_to_root(x)
  for i in range(len(x)):
    np.testing.assert_allclose(model.distance_to_root(x[i]), found[i])
  if model.space.rooted:
    assert not model.root.any()
  else:
    np.testing.assert_array_equal(model.root, model.encode_text("")[0])
    root = model.space.root(x)
    wanted = 1 - x @ root
    np.testing.assert_allclose(model.distance_to_root(x, root), wanted, 1e-5)
  assert model.distance_to_root(model.root) == pytest.approx(0, abs=1e-6)
  with pytest.raises(ValueError, match="root is 6 rows: give one"):
    model.distance_to_root(x, x)


def test_one_row_is_an_array_of_one(model):
  x = model.encode_image(pictures(2))
  assert model.similarity(x[0], x).shape == (1, 2)
  assert model.similarity(x[0], x[1]).shape == (1, 1)
  assert model.probabilities(x[0], x).shape == (1, 2)
  assert model.entailment_score(x[0], x).shape == (2,)
  assert model.lift(x[0]).shape == (1, 32)
  with pytest.raises(ValueError, match="2 general rows for 3 specific ones"):
    model.entailment_score(x, np.zeros((3, 32), np.float32))
  with pytest.raises(ValueError, match=r"y has the shape \(2, 31\)"):
    model.similarity(x, x[:, 1:])
  with pytest.raises(TypeError, match="x is 'a cat' of type str"):
    model.similarity("a cat", x)


def test_ranks_are_those_of_the_index_far_from_the_root():
  model = HyperCLIP(*golden_files.model("hycoclip"))
  v = np.random.default_rng(0).normal(size=(200, 32)).astype(np.float32)
  x = model.lift(8 * v / np.linalg.norm(v, axis=1, keepdims=True))
  names = [str(i) for i in range(200)]
  hits = model.search(x, model.index(x, names), 1)
  assert [row[0].row for row in hits] == [*range(200)]
  np.testing.assert_array_equal(model.similarity(x, x).argmax(1), range(200))


def test_classify_is_the_softmax_of_training(model):
  labels, images = ["cat", "dog", "red circle"], pictures(5)
  found = model.classify(images, labels, ["a {}.", "{}"])
  classes = class_embeddings(model, labels, ["a {}.", "{}"])
  x = model.encode_image(images)
  near = model.similarity(x, classes)
  if isinstance(model.space, Lorentz):  # -<x, y> = cosh(sqrt(c) d) / c
    curv = model.space.curv
    near = -np.arccosh(-curv * near.astype(float)) / curv**0.5
  weights = np.exp(np.exp(model.params["logit_scale"]) * near)
  wanted = weights / weights.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(found.probabilities, wanted, atol=1e-6)
  again = model.probabilities(x, classes)
  np.testing.assert_array_equal(found.probabilities, again)
  best, worst = found.top(3)[0][0], found.top(3)[0][2]
  assert best == (labels[int(wanted[0].argmax())], found.probabilities[0].max())
  assert best[1] > worst[1]
  assert found.labels == labels


def test_classify_misuse_is_named(model):
  image = pictures(1)[0]
  with pytest.raises(ValueError, match="labels is empty"):
    model.classify(image, [])
  with pytest.raises(ValueError, match=r"must contain \{\} once"):
    model.classify(image, ["cat"], ["a photo"])
  with pytest.raises(TypeError, match="labels is the string 'cat'"):
    model.classify(image, "cat")
  with pytest.raises(TypeError, match="templates is the string"):
    model.classify(image, ["cat"], "a {}")


def test_search_takes_texts_images_and_embeddings(model, tmp_path):
  images = pictures(5)
  paths = [tmp_path / f"{i}.png" for i in range(5)]
  for path, array in zip(paths, images, strict=True):
    Image.fromarray(array).save(path)
  index = model.index_images(paths)
  assert index.names == [str(path) for path in paths]
  assert model.index_images(images).names[4] == "image 4"
  assert model.index_images(str(paths[0])).names == [str(paths[0])]
  for query in (paths[3], str(paths[3]), images[3], Image.open(paths[3])):
    assert model.search_image(query, index, 1)[0][0].name == str(paths[3])
  x = model.encode_image(images)
  assert [row[0].row for row in model.search(x, index, 2)] == [*range(5)]
  for one in (x[1], x[1].astype(np.float64), jnp.asarray(x[1])):
    assert model.search(one, index, 1)[0][0].row == 1
  (hits,) = model.search_text("a cat", index, 5)
  scores = model.similarity(model.encode_text("a cat"), x)[0]
  assert [hit.row for hit in hits] == np.argsort(-scores).tolist()
  np.testing.assert_allclose(
    [hit.score for hit in hits], sorted(scores)[::-1], rtol=1e-12
  )


def test_a_string_means_one_thing_in_each_method(model, tmp_path):
  index = model.index_texts("a cat")
  assert index.names == ["a cat"]
  for given in ("a cat", ["a cat"], tmp_path / "a.png", pictures(1)):
    with pytest.raises(TypeError, match=r"search_text takes .* search_image"):
      model.search(given, index)
  with pytest.raises(FileNotFoundError, match="a cat"):
    model.search_image("a cat", index)
  with pytest.raises(TypeError, match=r"texts.* is of type PosixPath"):
    model.search_text(tmp_path / "a.png", index)
  with pytest.raises(FileNotFoundError, match="root"):
    model.traverse(pictures(1), index, to="root")
  with pytest.raises(TypeError, match="names is the string 'xy'"):
    model.index(index.embeddings, "xy")


def test_index_of_another_model_is_refused(model, tmp_path):
  x = model.encode_text(["a cat"])
  turned = jax.tree.map(lambda p: -p, model.params["textual_proj"])
  params = model.params | {"textual_proj": turned}
  other = HyperCLIP(model.system, model.options, {"params": params})
  model.index(x, ["a cat"]).save(tmp_path / "a.index")
  index = Index.load(tmp_path / "a.index")
  assert model.search(x, index)[0][0].name == "a cat"
  unknown = Index(x, ["a cat"], index.space)
  assert other.search(x, unknown)[0][0].name == "a cat"
  wrong = Index(x, ["a cat"], Lorentz(3.0))
  for asked, of, message in (
    (model, wrong, "another model's: 32 wide in Lorentz"),
    (other, index, f"another model's: it was made by {model.fingerprint}"),
  ):
    for search in (asked.search_text, asked.search_image, asked.search):
      with pytest.raises(ValueError, match=message):
        search("a cat", of)  # before the query is looked at
    with pytest.raises(ValueError, match="another model's"):
      asked.traverse(pictures(1), of)


def test_what_is_no_index_is_named(model):
  with pytest.raises(TypeError, match=r"of type str: give an Index"):
    model.check_index("words.index")


def test_the_fingerprint_is_of_what_embeddings_depend_on(model, tmp_path):
  wanted = model.fingerprint

  def fingerprint(params=None, **changes):
    options = dataclasses.replace(model.options, **changes)
    variables = {"params": model.params | (params or {})}
    return HyperCLIP(model.system, options, variables).fingerprint

  assert fingerprint() == wanted
  assert fingerprint(remat="full", contrast="tiled") == wanted
  model.save_pretrained(tmp_path)
  assert hyperclip_jax.load(tmp_path).fingerprint == wanted
  heads = dataclasses.replace(model.options.text, heads=1)
  scale = model.params["logit_scale"]
  different = [
    fingerprint(image_size=64),
    fingerprint({"logit_scale": scale + 1}),
    fingerprint(pixel_mean=(0.5, 0.5, 0.5)),
    fingerprint(text=heads),
  ]
  assert len({wanted, *different}) == 5


def test_traverse_to_the_root(model):
  images = pictures(3)
  index = model.index_images(images)
  walks = model.traverse(images, index)
  for i, walk in enumerate(walks):
    assert walk[0] == (f"image {i}", 1.0, i)
    assert walk[-1].name == "root"


def test_traverse_to_an_image(model):
  images = pictures(3)
  index = model.index_images(images)
  for i, walk in enumerate(model.traverse(images, index, to=images[2])):
    names = [point.name for point in walk]
    assert names[0] == f"image {i}"
    assert names[-1] == "image 2"
    assert "root" not in names
    ts = [point.t for point in walk]
    assert ts == sorted(ts, reverse=True)
    if names == [f"image {i}", "image 2"]:
      assert walk[1].t == pytest.approx(0.5, abs=0.03)  # half way
  with pytest.raises(ValueError, match="steps is 1: give at least 2"):
    model.traverse(images, index, images[2], steps=1)
  with pytest.raises(ValueError, match="to is 2 images: give one"):
    model.traverse(images, index, images[:2])


def test_long_work_shows_a_bar_on_a_terminal(model, capsys, monkeypatch):
  monkeypatch.setattr("sys.stderr.isatty", lambda: True)
  model.encode_text(["a cat"] * 8)
  assert not capsys.readouterr().err
  model.encode_text(["a cat"] * 24)
  assert "texts" in capsys.readouterr().err
  monkeypatch.setattr("sys.stderr.isatty", lambda: False)
  model.encode_text(["a cat"] * 24)
  assert not capsys.readouterr().err


def test_nothing_compiles_for_a_new_count(model, caplog):
  """Three sizes of a batch for the towers; nothing at all for geometry."""
  index = model.index_texts([f"a {i}" for i in range(40)])
  model.encode_image(pictures(1))
  model.classify(pictures(3), ["a", "b", "c"])
  with jax.log_compiles():
    for n in (2, 4, 5, 9):
      x = model.encode_image(pictures(n))
      t = model.encode_text([f"a {i}" for i in range(n)])
      model.classify(pictures(n), [f"{i}" for i in range(n + 1)])
      model.similarity(x, t)
      model.probabilities(x, t)
      model.entailment_score(t, x)
      model.entailment_score(t[:1], x)
      model.distance_to_root(x)
      model.lift(x)
      model.search(x, index, n)
      model.traverse(pictures(n), index, steps=n)
      model.traverse(pictures(n), index, pictures(1), n)
  assert "Compiling" not in caplog.text


@pytest.mark.parametrize(
  ("count", "rows"),
  [(1, [1]), (2, [8]), (8, [8]), (9, [8, 8]), (32, 4 * [8]), (33, [64])],
)
def test_a_few_do_not_cost_a_whole_batch(count, rows, monkeypatch):
  model = HyperCLIP(*golden_files.model("clip"))
  seen = []

  def apply(tower, variables, x):
    seen.append(len(x))
    return np.zeros((len(x), 32), np.float32)

  monkeypatch.setattr(encoder, "_apply", apply)
  model.encode_text(["a"] * count)
  model.encode_image([np.zeros((4, 4, 3), np.uint8)] * count)
  assert seen == rows * 2
  seen.clear()
  one = jax.local_devices()[:1]
  capped = HyperCLIP(*golden_files.model("clip"), batch_size=4, devices=one)
  capped.encode_text(["a"] * count)
  assert max(seen) <= 4
  with pytest.raises(ValueError, match="batch_size is 0"):
    HyperCLIP(*golden_files.model("clip"), batch_size=0)


WRONG = {
  'model.search(model.root, index, k="5")': "k is '5' of type str: give a",
  "model.search(model.root, index, k=2.5)": "k is 2.5 of type float",
  "model.search(model.root, index, k=True)": "k is True of type bool",
  'model.traverse(picture, index, steps="5")': "steps is '5' of type str",
  'model.classify(picture, ["a"]).top("1")': "k is '1' of type str",
  'load("emoji-mini", batch_size="8")': "batch_size is '8' of type str",
  'load("emoji-mini", batch_size=8.5)': "batch_size is 8.5 of type float",
  'load("emoji-mini", devices=jax.devices()[0])': "Device: give a list of dev",
  'load("emoji-mini", devices="cpu")': "devices is 'cpu' of type str: give a",
  'load("emoji-mini", devices=[0])': "devices[0] is 0 of type int: give a",
  'load("emoji-mini", dtype=5)': "dtype is 5: give float32 or bfloat16",
  'load("emoji-mini", vision_heads="4")': "vision_heads is '4' of type str",
  'load("emoji-mini", text_heads=2.0)': "text_heads is 2.0 of type float",
  'load("emoji-mini", trust_system="no")': "trust_system is 'no': give a bool",
  'model.save_pretrained("x", 3)': "licence is of type int: give a text",
  'model.save_pretrained("x", data=3)': "data is of type int: give a text",
  "model.search(model.root, index, k=np.int64(2))": "",
  'load("emoji-mini", dtype=jax.numpy.bfloat16)': "",
}


def test_other_arguments_of_a_wrong_type_are_named(tmp_path):
  """In a process of its own, since these tests check annotations, too."""
  code = f"""
import jax, numpy as np
from hyperclip_jax import load
model = load("emoji-mini")
index = model.index_texts(["a", "b"])
picture = np.zeros((8, 8, 3), np.uint8)
for call in {[*WRONG]}:
  try:
    eval(call)
    print("")
  except TypeError as error:
    print(error)
"""
  done = subprocess.run(
    [sys.executable, "-c", code],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(pathlib.Path.cwd())},
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.split("\n")[:-1]
  assert len(lines) == len(WRONG)
  for line, (call, wanted) in zip(lines, WRONG.items(), strict=True):
    assert wanted in line, call
    assert bool(line) == bool(wanted), call


def test_texts_that_are_cut_are_counted_once(model):
  fits = " ".join(["a"] * 75)
  long = fits + " b"
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    wanted = model.encode_text([fits])
  with pytest.warns(UserWarning, match=r"2 of 6 texts .* 77 tokens") as found:
    cut = model.encode_text([long, "a", "b", "c", "d", long + " c"])
  assert len(found) == 1
  assert len(str(found[0].message)) < 250
  np.testing.assert_allclose(cut[[0, 5]], wanted[[0, 0]], atol=1e-6)


def test_a_model_says_what_it_is(model):
  shown = repr(model)
  assert shown.startswith(f"HyperCLIP({model.system}: ")
  assert "images of 32 x 32" in shown
  assert "texts of 77 tokens" in shown
  assert ("Lorentz(curv=1" in shown) == model.space.cones


def test_a_diverged_model_is_not_searched(model):
  params = jax.tree.map(lambda p: p * np.float32("nan"), model.params)
  broken = HyperCLIP(model.system, model.options, {"params": params})
  broken.space = model.space
  assert np.isnan(broken.encode_text("a")).all()
  with pytest.raises(ValueError, match=r"not finite.* has diverged"):
    broken.index_texts(["a"])
  index = Index(model.encode_text("a"), ["a"], model.space)
  with pytest.raises(ValueError, match="not finite"):
    broken.search_text("a", index)


def test_preprocess_gives_what_the_tower_gets(model):
  some = pictures(3)
  pixels = model.preprocess(some)
  assert pixels.shape == (3, 32, 32, 3)
  assert pixels.dtype == np.uint8
  np.testing.assert_array_equal(
    model.encode_image(pixels), model.encode_image(some)
  )
  assert model.preprocess(some[0]).shape == (1, 32, 32, 3)
  assert model.preprocess([]).shape == (0, 32, 32, 3)
  assert repr(model.preprocess) == "Preprocess(image_size=32)"


def test_the_tokenizer_knows_the_models_context(model):
  tokens = model.tokenizer(["a red circle", "a"])
  assert tokens.shape == (2, model.context)
  features = model._towers.text(model.variables, jnp.asarray(tokens))
  np.testing.assert_allclose(
    features,
    model.encode_text(["a red circle", "a"], lift=False),
    rtol=1e-5,  # programs for 77 tokens and for fewer: sums in other orders
    atol=1e-6,
  )
  assert model.tokenizer.lengths("a") == [3]
  assert repr(model.tokenizer) == "Tokenize(Tokenizer, context=77)"
  with pytest.raises(TypeError, match="texts is None: give a list of strings"):
    model.tokenizer(None)


def test_probabilities_are_the_softmax_of_logits(model):
  image = model.encode_image(pictures(2))
  texts = model.encode_text(["a red circle", "a thing", "a"])
  logits = model.logits(image, texts)
  assert logits.shape == (2, 3)
  np.testing.assert_allclose(
    logits, model.logit_scale * model.space.pairwise(image, texts)
  )
  shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(model.probabilities(image, texts), shares)


def test_a_summary_tells_sizes_and_devices(model):
  found = model.summary()
  assert found.startswith(f"{model.title}:\n")
  for part in (
    f"{model.size:,}",
    "32 x 32 pixels",
    "at most 77 tokens",
    str(model.space),
    "8 x cpu",
    model.fingerprint,
    "parameters of vision",
  ):
    assert part in found
  assert all(len(line) <= 80 for line in found.splitlines())
