"""Views that no system of ours has: shared canvases, labels, queries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperclip_jax.data.feed import augment, distortions, pipeline, views
from hyperclip_jax.data.feed.faults import Faults, TooManyFaults
from hyperclip_jax.data.feed.order import Draw
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.feed.tokenizer import Tokenizer, cut
from hyperclip_jax.data.feed.views import Display, Shown, View
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.shards import TarSource
from tests.data import tars
from tests.data.loading import rows, take

# Images are compared level by level.
pytestmark = pytest.mark.usefixtures("optimized")

NO_TEXT = View(lengths=None)
LABELS = NO_TEXT._replace(extra={"label": np.int32})
QUERIES = View(
  count=4,
  crop=None,
  lengths=(8, 77),
  extra={"parent": np.int32, "weight": np.float32},
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Eight raw records with two boxes each."""
  members = [
    member
    for i in range(8)
    for member in tars.raw_members(f"{i}", i, ref_exps=[])
  ]
  path = tars.write_tar(tmp_path_factory.mktemp("raw") / "a.tar", members)
  return TarSource([path], min_side=4)


def show_all(shown):
  """A `show` that returns the same for every record."""
  return lambda record, numbers: shown(record)


def weak_and_strong(count=1, crops=2):
  """`count` pictures an example, each cropped once and `crops` times more."""
  strong = View(
    count=count * crops,
    crop=(0.08, 0.5),
    distortions=distortions.Options(flip=0.5, grayscale=0.2),
    canvas="weak",
  )

  def show(record, numbers):
    parts = views.choose([views.whole(record), *record.parts], numbers)
    edited = [part._replace(text=f"{part.text}!") for part in parts]
    return {"weak": parts, "strong": [p for p in edited for _ in range(crops)]}

  return Display({"weak": View(count=count), "strong": strong}, count, show)


@pytest.mark.parametrize("count", [1, 2])
def test_a_canvas_is_decoded_once_and_cropped_often(source, count, monkeypatch):
  decoded = []
  decode = images.decode
  monkeypatch.setattr(
    images, "decode", lambda *args: decoded.append(args) or decode(*args)
  )
  display = weak_and_strong(count)
  make = pipeline.MakeBatch(
    [source], Faults(0.0), display, form=Form(64), tokenizer=Tokenizer()
  )
  batch = make([Draw(0, i, (0, i)) for i in range(4)])
  # Loaders that other tests left may still decode pictures of their own.
  own = [source[i].image for i in range(4)]
  assert sum(args[0] in own for args in decoded) == 4
  assert set(batch["weak"]) - {"valid"} == {"image", "crop", "seed", "text"}
  assert set(batch["strong"]) == {"crop", "seed", "text", "valid"}

  made = jax.jit(lambda batch: views.augment(display.views, batch, 24))(batch)
  canvases = np.repeat(batch["weak"]["image"], 2, axis=0)
  crops = batch["strong"]["crop"]
  plain = augment.crop_resize(canvases, crops, 24)
  wanted = distortions.augment(
    plain, batch["strong"]["seed"], display.views["strong"].distortions
  )
  # Sums in another order may round to the next level, in each of two passes.
  np.testing.assert_allclose(made["strong"]["image"], wanted, atol=2.01 / 255)
  assert np.mean(np.abs(made["strong"]["image"] - wanted)) < 1e-4
  assert set(made["strong"]) == {"image", "text", "valid"}

  # All crops are inside the image, and hardly two are alike.
  assert (crops[:, :2] >= 0).all()
  assert (crops[:, 2:] <= (64, 48)).all()
  assert len(np.unique(crops, axis=0)) > len(crops) // 2
  texts = [Tokenizer().decode(row) for row in batch["strong"]["text"]]
  assert all(text.endswith("!") for text in texts)


def test_numbers_of_a_view_do_not_move_those_before_it(source):
  """And those of `show` come first."""
  both = weak_and_strong()
  alone = Display(
    {"weak": View()}, 1, lambda r, n: {"weak": both.show(r, n)["weak"]}
  )
  (wanted,), (found,) = (
    take(source, count=1, display=d) for d in (alone, both)
  )
  for name, leaf in wanted["weak"].items():
    np.testing.assert_array_equal(found["weak"][name], leaf)


def test_a_single_picture_may_be_shrunk_while_it_is_decoded(tmp_path):
  """Several of one record are cut from its full size."""
  members = tars.raw_members("a", noun_chunks=[], ref_exps=[])
  members[0] = ("a.jpg", tars.jpeg(1, 300, 400))
  source = TarSource([tars.write_tar(tmp_path / "a.tar", members)])
  found = {}
  for name, count in (("one", 1), ("two", 2)):
    display = Display(
      {"whole": View(count=count)},
      0,
      show_all(lambda r, n=count: {"whole": [views.whole(r)] * n}),
    )
    (batch,) = take(source, count=1, batch_size=1, display=display)
    found[name] = batch["whole"]["image"][0]
  data = members[0][1]
  for name, least in (("one", 64), ("two", 0)):
    wanted = np.zeros((64, 64, 3), np.uint8)
    images.fit(images.decode(data, least), wanted, False)
    np.testing.assert_array_equal(found[name], wanted)
  assert (found["one"] != found["two"]).any()


def test_a_box_may_come_before_its_image_in_one_view(source):
  """Its canvas does not lie under the image that later parts are cut from."""
  display = Display(
    {"all": View(count=3)},
    0,
    show_all(lambda r: {"all": [*r.parts, views.whole(r)]}),
  )
  form = Form(64)
  (batch,) = take(source, count=1, batch_size=8, form=form, display=display)
  found = batch["all"]["image"].reshape(8, 3, 64, 64, 3)
  decoded = [images.decode(source[i].image) for i in range(8)]
  for pictures in found:
    whole = pictures[2][:48]
    assert any((whole == image).all() for image in decoded)
    np.testing.assert_array_equal(pictures[0][:24, :32], whole[:24, :32])


def test_labels_without_texts(source):
  def show(record, numbers):
    label = int(record.key) % 3
    return {"whole": Shown([views.whole(record)], {"label": [label]})}

  display = Display({"whole": LABELS}, 0, show)
  batches = take(source, count=2, display=display)
  leaves = batches[0]["whole"]
  assert set(leaves) == {"image", "crop", "seed", "label"}
  assert leaves["label"].dtype == np.int32
  labels = [int(n) for batch in batches for n in batch["whole"]["label"]]
  assert sorted(labels) == sorted(i % 3 for i in range(8))
  made = views.augment(display.views, jax.device_put(batches[0]), 16)
  assert set(made["whole"]) == {"image", "label"}


def test_queries_are_texts_with_numbers_and_no_pictures(source, monkeypatch):
  def show(record, numbers):
    parts = [views.whole(record), *record.parts]
    extra = {"parent": [-1, 0, 0], "weight": numbers[:3]}
    return {
      "whole": Shown([views.whole(record)], {"label": [7]}),
      "query": Shown(parts, extra),
    }

  display = Display({"whole": LABELS, "query": QUERIES}, 3, show)
  (batch,) = take(source, count=1, display=display)
  query = batch["query"]
  assert set(query) == {"text", "valid", "parent", "weight"}
  # What fills up is the last part again, with its numbers.
  assert query["valid"].tolist() == [True, True, True, False] * 4
  assert query["parent"].tolist() == [-1, 0, 0, 0] * 4
  weights = query["weight"].reshape(4, 4)
  np.testing.assert_array_equal(weights[:, 2], weights[:, 3])
  assert len(np.unique(weights)) == 12
  assert query["text"].shape == (16, 77)
  np.testing.assert_array_equal(query["text"][2::4], query["text"][3::4])
  made = views.augment(display.views, jax.device_put(batch), 16)
  assert made["query"].keys() == query.keys()
  later = take(source, count=1, display=display, examples_seen=2, batch_size=2)
  assert rows(later) == rows([batch])[2:]


def test_a_bad_picture_that_no_view_shows_is_no_bad_record(tmp_path):
  members = tars.raw_members("a", noun_chunks=[], ref_exps=[])
  members[0] = ("a.jpg", b"no jpeg")
  source = TarSource([tars.write_tar(tmp_path / "a.tar", members)])
  display = views.whole_only(View(crop=None))
  (batch,) = take(source, count=1, batch_size=1, display=display)
  assert set(batch["whole"]) == {"text"}


def test_a_record_that_show_raises_for_is_replaced(source):
  def show(record, numbers):
    if record.key == "3":
      raise KeyError("label")
    return {"whole": [views.whole(record)]}

  display = Display({"whole": View()}, 0, show)
  faults = Faults(1.0)
  take(source, count=2, display=display, faults=faults)
  assert faults.until(8) == 1
  with pytest.raises(
    TooManyFaults, match=r"record '3': KeyError: 'label'.*max_bad"
  ):
    take(source, count=2, display=display)


@pytest.mark.parametrize(
  ("shown", "message"),
  [
    (lambda r: {}, r"returned \[\], want \['query', 'whole'\]"),
    (
      lambda r: {"whole": [], "query": Shown([views.whole(r)])},
      "returned 0 parts for view 'whole', want 1 to 1",
    ),
    (
      lambda r: {"whole": [views.whole(r)] * 2, "query": [views.whole(r)]},
      "returned 2 parts for view 'whole'",
    ),
    (
      lambda r: {"whole": [views.whole(r)], "query": [views.whole(r)]},
      "'query' has extra: show must return a Shown",
    ),
    (
      lambda r: {
        "whole": [views.whole(r)],
        "query": Shown([views.whole(r)], {"parent": [1], "weight": [1, 2]}),
      },
      r"'weight': 2}.*'query', want .*'weight': 1",
    ),
  ],
)
def test_a_show_that_breaks_its_word_ends_the_run(source, shown, message):
  """However many bad records are allowed: none is to blame."""
  display = Display({"whole": View(), "query": QUERIES}, 0, show_all(shown))
  with pytest.raises(views.ShowError, match=message):
    take(source, count=1, faults=Faults(1.0), display=display)


@pytest.mark.parametrize(
  ("found", "message"),
  [
    ({"a": View(count=0)}, "'a': count is 0"),
    ({"a": View(crop=None, lengths=None)}, "'a' shows nothing"),
    ({"a": View(extra={"text": int})}, r"'a': extra has \['text'\]"),
    ({"a": View(canvas="b")}, "'a': canvas is 'b', want a view"),
    ({"a": View(canvas="a")}, "'a': canvas is 'a', want a view"),
    ({"a": View(), "b": View(crop=None, canvas="a")}, "'b' has a canvas"),
    ({"a": View(crop=None), "b": View(canvas="a")}, "'b': canvas is 'a'"),
    (
      {"a": View(count=2), "b": View(count=3, canvas="a")},
      "'b': count is 3, want a multiple of the 2 of its canvas 'a'",
    ),
  ],
)
def test_views_are_checked(found, message):
  with pytest.raises(ValueError, match=message):
    views.check(found)


WORDS = st.lists(st.sampled_from(["!", "a", "red", "ball"]), max_size=9)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4))
def test_differs_is_what_the_whole_rows_say(examples):
  """Whatever they are cut to, and with "!", whose id is that of padding."""
  texts = [[" ".join(words) for words in example] for example in examples]
  tokenizer = Tokenizer()
  captions = tokenizer([owner for owner, *_ in texts], 16)
  parts = tokenizer([part for _, *own in texts for part in own], 16)
  wanted = (parts != np.repeat(captions, 2, axis=0)).any(axis=1)
  lengths = (4, 8, 16)
  short = (jnp.asarray(cut(ids, lengths)) for ids in (parts, captions))
  np.testing.assert_array_equal(views.differs(*short), wanted)


def test_several_processes_read_texts_of_one_length():
  found = views.of_one_length({"a": View(lengths=(8, 77)), "b": NO_TEXT})
  assert found == {"a": View(lengths=(77,)), "b": NO_TEXT}


def test_a_view_may_have_pictures_of_its_own_size():
  canvases = np.zeros((2, 16, 16, 3), np.uint8)
  crops = np.array([[0, 0, 16, 16]] * 2, np.float32)
  seeds = np.zeros(2, np.uint32)
  shown = {"weak": NO_TEXT, "strong": NO_TEXT._replace(canvas="weak")}
  shown["strong"] = shown["strong"]._replace(image_size=6)
  batch = {name: {"crop": crops, "seed": seeds} for name in shown}
  batch["weak"]["image"] = canvases
  found = views.augment(shown, jax.tree.map(jnp.asarray, batch), 8)
  assert found["weak"]["image"].shape == (2, 8, 8, 3)
  assert found["strong"]["image"].shape == (2, 6, 6, 3)
