"""Batches on one device and on eight: which they are, and the same numbers."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from hyperclip_jax import HyperCLIP
from hyperclip_jax.inference import encoder
from tests import golden_files

BATCH = 4  # rows a device
ONE_DTYPE = pytest.mark.parametrize("golden", ["float32"], indirect=True)


@pytest.fixture(scope="module")
def golden(request):
  """A model whose towers compute in a dtype."""
  found = golden_files.model("hycoclip")
  options = dataclasses.replace(found.options, dtype=request.param)
  return found._replace(options=options)


@pytest.fixture
def make(golden):
  """make(batch_size, devices) -> a model that has encoded nothing."""
  return lambda batch_size=BATCH, devices=None: HyperCLIP(
    *golden, batch_size=batch_size, devices=devices
  )


@pytest.fixture
def applied(monkeypatch):
  """Variables, rows and number of devices of each batch that is computed."""
  found = []
  apply = encoder._apply

  def watched(tower, variables, x):
    out = apply(tower, variables, x)
    found.append((variables, len(x), len(out.sharding.device_set)))
    return out

  monkeypatch.setattr(encoder, "_apply", watched)
  return found


def pictures(count):
  rng = np.random.default_rng(0)
  return [*rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)]


def texts(count):
  """Texts of all lengths, some longer than the context."""
  rng = np.random.default_rng(1)
  letters = [" ".join("abcdefgh"[i % 8] for i in range(80))]
  return [
    letters[0][: 2 * n] + str(n) for n in rng.choice([3, 12, 20, 60, 78], count)
  ]


@pytest.mark.parametrize("golden", ["float32", "bfloat16"], indirect=True)
@pytest.mark.parametrize("count", [0, 1, 5, 32, 33, 64, 71])
@pytest.mark.filterwarnings("ignore:.* texts are longer")
@pytest.mark.usefixtures("standard_promotion")
def test_eight_devices_give_the_bits_of_one(make, count):
  some, words = pictures(count), texts(count)
  model = make(devices=jax.local_devices()[:1])
  wanted = model.encode_image(some), model.encode_text(words)
  model = make()
  found = model.encode_image(some), model.encode_text(words)
  assert found[0].shape == found[1].shape == (count, 32)
  jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize(
  ("batch_size", "count", "wanted"),
  [
    (4, 1, [(1, 1)]),
    (4, 9, 3 * [(4, 1)]),
    (4, 32, 8 * [(4, 1)]),
    (4, 33, 2 * [(32, 8)]),  # one row of the last batch is none of padding
    (1, 33, 5 * [(8, 8)]),
    (33, 33, [(33, 1)]),
    (64, 64, [(64, 1)]),
    (64, 65, [(512, 8)]),  # most devices have nothing but padding
  ],
)
@ONE_DTYPE
def test_what_is_more_than_a_batch_is_split_over_devices(
  make, applied, batch_size, count, wanted
):
  model = make(batch_size)
  model.encode_image(pictures(count))
  model.encode_text(["a"] * count)
  assert [(rows, on) for _, rows, on in applied] == 2 * wanted


@ONE_DTYPE
def test_parameters_are_copied_once_and_not_for_a_few(make, applied):
  model = make()

  def pointers(variables):
    return [
      {shard.device: shard.data.unsafe_buffer_pointer()}
      for leaf in jax.tree.leaves(variables)
      for shard in leaf.addressable_shards
    ]

  model.encode_image(pictures(1))
  model.encode_text(["a"] * 32)
  own = pointers(model.params)
  assert all(pointers(variables) == own for variables, *_ in applied)
  applied.clear()
  model.encode_image(pictures(33))
  model.encode_text(["a"] * 33)
  first, *others = (pointers(variables) for variables, *_ in applied)
  assert all(other == first for other in others)
  # The first device goes on with what it has.
  assert len(first) == 8 * len(own)
  assert first[::8] == own


@ONE_DTYPE
def test_bad_files_are_left_out_of_batches_on_eight_devices(make, tmp_path):
  some = pictures(40)
  paths = [tmp_path / f"{i}.png" for i in range(40)]
  for path, array in zip(paths, some, strict=True):
    Image.fromarray(array).save(path)
  bad = [*range(32), 38]  # all of the first batch
  for i in bad:
    paths[i].write_bytes(b"no image")
  model = make()
  found = model.encode_files(paths)
  good = [i for i in range(40) if i not in bad]
  assert found.names == [str(paths[i]) for i in good]
  assert [*found.left_out] == [str(paths[i]) for i in bad]
  wanted = model.encode_image(some)[good]
  np.testing.assert_array_equal(found.embeddings, wanted)


@pytest.mark.filterwarnings("ignore:.* texts are longer")
@ONE_DTYPE
def test_a_text_does_not_depend_on_its_neighbours(make):
  model, words = make(), texts(70)
  rng = np.random.default_rng(2)
  order = rng.permutation(70)
  found = model.encode_text([words[i] for i in order])
  np.testing.assert_array_equal(found, model.encode_text(words)[order])
