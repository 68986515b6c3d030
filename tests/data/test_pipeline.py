"""The order of examples is a function of seed and position alone."""

import itertools

import numpy as np
import pytest

from hyperclip_jax.data import pipeline
from hyperclip_jax.data.shards import TarSource
from hyperclip_jax.data.tokenizer import Tokenizer
from tests.data import tars

RECORDS = 12


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Twelve raw records whose captions and images tell them apart."""
  names = "one two three four five six seven eight nine ten eleven twelve"
  members = []
  for i, name in enumerate(names.split()):
    caption = f"a {name} and a ball"
    end = float(len(f"a {name}"))
    members += tars.raw_members(
      f"{i:05d}",
      seed=i,
      caption=caption,
      noun_chunks=[
        [0.0, end, 0.0, 0.0, 0.5, 0.5, 0.9],
        [end + 5, end + 11, 0.5, 0.5, 1.0, 1.0, 0.9],
      ],
      ref_exps=[],
      width=64,
      height=48,
    )
  path = tmp_path_factory.mktemp("raw") / "00000.tar"
  return TarSource([tars.write_tar(path, members)], min_side=8)


def make_example(boxes=True):
  return pipeline.MakeExample(
    canvas=64,
    context=77,
    crop_scale=(0.5, 1.0),
    white_border=False,
    boxes=boxes,
  )


def take(source, count, *, batch_size=4, boxes=True, **options):
  """The first batches of a loader."""
  defaults = {
    "seed": 0,
    "examples_seen": 0,
    "buckets": (16, 77),
    "threads": 2,
    "prefetch": 2,
  }
  iterator = pipeline.batches(
    source, make_example(boxes), batch_size=batch_size, **defaults | options
  )
  return list(itertools.islice(iterator, count))


def rows(batches):
  """Batches -> one list of examples, as comparable tuples."""
  return [
    tuple(batch[name][i].tobytes() for name in sorted(batch))
    for batch in batches
    for i in range(len(batch["image"]))
  ]


def captions(batches):
  decode = Tokenizer().decode
  return [decode(row.tolist()) for batch in batches for row in batch["text"]]


def test_every_record_once_an_epoch_in_another_order(source):
  epochs = captions(take(source, 6))
  first, second = epochs[:RECORDS], epochs[RECORDS:]
  assert set(first) == set(second)
  assert len(set(first)) == RECORDS
  assert first != second


def test_position_resumes_exactly(source):
  whole = rows(take(source, 6))
  assert rows(take(source, 2, examples_seen=16)) == whole[16:]
  # Even from the middle of a batch.
  assert rows(take(source, 2, examples_seen=5)) == whole[5:13]


def test_threads_do_not_matter(source):
  assert rows(take(source, 4, threads=1)) == rows(take(source, 4, threads=8))


def test_hosts_share_the_global_batch(source):
  whole = rows(take(source, 3, batch_size=4, buckets=(77,)))
  parts = [
    rows(take(source, 3, batch_size=2, process_index=host, process_count=2))
    for host in range(2)
  ]
  interleaved = [row for pair in zip(*parts, strict=True) for row in pair]
  assert interleaved == whole


def test_seeds_differ(source):
  assert rows(take(source, 3)) != rows(take(source, 3, seed=1))


def test_boxes_and_crops_vary_over_epochs(source):
  batches = take(source, 30)
  phrases = {}
  crops = set()
  for batch in batches:
    crops |= {row.tobytes() for row in batch["image_crop"]}
    for text, box_text in zip(batch["text"], batch["box_text"], strict=True):
      phrases.setdefault(text.tobytes(), set()).add(box_text.tobytes())
  assert all(len(found) == 2 for found in phrases.values())
  assert len(crops) > 50


def test_box_image_is_the_box_of_the_image(source):
  batch = take(source, 1)[0]
  for image, box_image, crop in zip(
    batch["image"], batch["box_image"], batch["box_crop"], strict=True
  ):
    # Boxes are the left upper or the right lower quarter of 48 x 64.
    quarters = (image[:24, :32], image[24:48, 32:64])
    assert any((box_image[:24, :32] == quarter).all() for quarter in quarters)
    assert not box_image[24:].any()
    assert crop[2] <= 32
    assert crop[3] <= 24


def test_without_boxes_there_are_none(source):
  batch = take(source, 1, boxes=False)[0]
  assert set(batch) == {"image", "image_crop", "text"}


def test_phrase_equal_to_caption_is_not_distinct(tmp_path):
  caption = "a red ball"
  members = tars.raw_members(
    "00000",
    caption=caption,
    noun_chunks=[[0.0, 10.0, 0.0, 0.0, 1.0, 1.0, 0.9]],
    ref_exps=[],
  )
  members += tars.raw_members(
    "00001", caption=caption, noun_chunks=[], ref_exps=[]
  )
  members += tars.raw_members("00002", ref_exps=[])
  source = TarSource([tars.write_tar(tmp_path / "a.tar", members)], min_side=8)
  batch = take(source, 1, batch_size=3)[0]
  decode = Tokenizer().decode
  for text, box_text, distinct in zip(
    batch["text"], batch["box_text"], batch["distinct"], strict=True
  ):
    same = decode(text.tolist()) == decode(box_text.tolist())
    assert same == (not distinct)
  assert batch["distinct"].sum() == 1


def test_processed_shards_go_the_same_way(tmp_path):
  members = [
    member
    for i in range(4)
    for member in tars.processed_members(f"{i:05d}", caption=f"picture {i}")
  ]
  source = TarSource([tars.write_tar(tmp_path / "a.tar", members)])
  batch = take(source, 1)[0]
  assert batch["distinct"].all()
  assert len(set(captions([batch]))) == 4
  assert (batch["image"] != batch["box_image"]).any()


def test_texts_are_cut_to_the_shortest_bucket():
  rows = np.zeros((2, 77), np.int32)
  rows[0, :9] = 1
  rows[1, :16] = 1
  batch = {"text": rows, "box_text": rows[:, ::1].copy()}
  batch["box_text"][1, 3:] = 0
  cut = pipeline.cut_texts(batch, (8, 16, 32, 77))
  assert cut["text"].shape == (2, 16)
  assert cut["box_text"].shape == (2, 16)
  batch["text"][1, 16] = 1
  assert pipeline.cut_texts(batch, (8, 16, 32, 77))["text"].shape == (2, 32)
