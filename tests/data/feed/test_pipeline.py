"""The order of examples is a function of seed and position alone."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.feed import pipeline
from hyperclip_jax.data.feed.faults import Faults, TooManyFaults
from hyperclip_jax.data.feed.place import Form
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.shards import TarSource
from tests.data import tars
from tests.data.loading import distinct, rows, take, with_parts

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


def key_of(name):
  """The first key that a name of `pipeline.names` tells, of one character."""
  return name.partition("record '")[2][0]


def captions(batches):
  decode = Tokenizer().decode
  return [
    decode(row.tolist()) for batch in batches for row in batch["whole"]["text"]
  ]


def test_every_record_once_an_epoch_in_another_order(source):
  epochs = captions(take(source, count=6))
  first, second = epochs[:RECORDS], epochs[RECORDS:]
  assert set(first) == set(second)
  assert len(set(first)) == RECORDS
  assert first != second


def test_position_resumes_exactly(source):
  whole = rows(take(source, count=6))
  assert rows(take(source, count=2, examples_seen=16)) == whole[16:]
  # Even from the middle of a batch.
  assert rows(take(source, count=2, examples_seen=5)) == whole[5:13]


def test_names_are_those_of_the_batches(source, tmp_path):
  """Any position's record is known without reading what came before."""
  members = [
    m
    for i in range(6)
    for m in tars.raw_members(f"b{i}", i, caption=f"other {i}", noun_chunks=[])
  ]
  other = TarSource([tars.write_tar(tmp_path / "b.tar", members)], min_side=4)
  sources, weights = (source, other), (1.0, 2.0)
  batches = take(*sources, count=5, weights=weights, examples_seen=7)
  found = pipeline.names(sources, weights, 0, range(7, 7 + 20))
  by_name = {s.name(i): s[i].caption for s in sources for i in range(len(s))}
  assert [by_name[name] for name in found] == captions(batches)


def test_threads_do_not_matter(source):
  assert rows(take(source, count=4, threads=1)) == rows(
    take(source, count=4, threads=8)
  )


def test_hosts_share_the_global_batch(source):
  whole = rows(
    take(source, count=3, batch_size=4, display=with_parts(1, (77,)))
  )
  parts = [
    rows(
      take(
        source,
        count=3,
        batch_size=2,
        display=with_parts(1, (77,)),
        process_index=host,
        process_count=2,
      )
    )
    for host in range(2)
  ]
  interleaved = [row for pair in zip(*parts, strict=True) for row in pair]
  assert interleaved == whole


def test_seeds_differ(source):
  assert rows(take(source, count=3)) != rows(take(source, count=3, seed=1))


def test_boxes_and_crops_vary_over_epochs(source):
  batches = take(source, count=30)
  phrases = {}
  crops = set()
  for batch in batches:
    crops |= {row.tobytes() for row in batch["whole"]["crop"]}
    for text, box_text in zip(
      batch["whole"]["text"], batch["part"]["text"], strict=True
    ):
      phrases.setdefault(text.tobytes(), set()).add(box_text.tobytes())
  assert all(len(found) == 2 for found in phrases.values())
  assert len(crops) > 50


def test_box_image_is_the_box_of_the_image(source):
  batch = take(source, count=1)[0]
  for image, box_image, crop in zip(
    batch["whole"]["image"],
    batch["part"]["image"],
    batch["part"]["crop"],
    strict=True,
  ):
    # Boxes are the left upper or the right lower quarter of 48 x 64.
    quarters = (image[:24, :32], image[24:48, 32:64])
    assert any((box_image[:24, :32] == quarter).all() for quarter in quarters)
    assert not box_image[24:].any()
    assert crop[2] <= 32
    assert crop[3] <= 24


def test_upright_pictures_are_turned_and_boxes_refer_to_them(tmp_path):
  x, y = np.meshgrid(np.arange(64), np.arange(48))
  pixels = np.stack([x * 4, y * 5, 255 - x * 4], -1).astype(np.uint8)
  exif = Image.Exif()
  exif[0x112] = 6
  out = io.BytesIO()
  Image.fromarray(pixels).save(out, "JPEG", exif=exif, quality=95)
  meta = tars.raw_members(
    "a", noun_chunks=[[0, 5, 0, 0, 1, 0.25, 1]], ref_exps=[]
  )[1]
  path = tars.write_tar(tmp_path / "a.tar", [("a.jpg", out.getvalue()), meta])
  source = TarSource([path], min_side=4)
  for upright in (False, True):
    (batch,) = take(
      source, count=1, batch_size=1, form=Form(64, upright=upright)
    )
    whole = images.decode(out.getvalue(), upright=upright)
    height, width, _ = whole.shape
    assert (batch["whole"]["image"][0, :height, :width] == whole).all()
    part = batch["part"]["image"][0]
    assert (part[: height // 4, :width] == whole[: height // 4]).all()
    assert not part[height // 4 :].any()


def test_without_boxes_there_are_none(source):
  batch = take(source, count=1, display=with_parts(0))[0]
  assert {view: set(leaves) for view, leaves in batch.items()} == {
    "whole": {"image", "crop", "seed", "text"}
  }


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
  batch = take(source, count=1, batch_size=3)[0]
  decode = Tokenizer().decode
  found = distinct(batch)
  for text, box_text, differs in zip(
    batch["whole"]["text"], batch["part"]["text"], found, strict=True
  ):
    same = decode(text.tolist()) == decode(box_text.tolist())
    assert same == (not differs)
  assert found.sum() == 1


def test_processed_shards_go_the_same_way(tmp_path):
  members = [
    member
    for i in range(4)
    for member in tars.processed_members(f"{i:05d}", caption=f"picture {i}")
  ]
  source = TarSource([tars.write_tar(tmp_path / "a.tar", members)])
  batch = take(source, count=1)[0]
  assert distinct(batch).all()
  assert len(set(captions([batch]))) == 4
  assert (batch["whole"]["image"] != batch["part"]["image"]).any()


def test_several_parts_are_packed_with_a_mask(source, tmp_path):
  lone = tars.raw_members("9", caption="alone", noun_chunks=[], ref_exps=[])
  lone = TarSource([tars.write_tar(tmp_path / "a.tar", lone)])
  for chosen, differs in ((source, [1, 1, 0]), (lone, [0, 0, 0])):
    batch = take(chosen, count=1, display=with_parts(3), batch_size=2)[0]
    valid = [1, 1, 0] if chosen is source else [1, 0, 0]
    assert batch["part"]["valid"].tolist() == valid * 2
    assert distinct(batch).tolist() == differs * 2
    assert batch["part"]["image"].shape == (6, 64, 64, 3)
    assert batch["part"]["crop"].shape == (6, 4)
    for row in range(0, 6, 3):  # what fills up repeats the last part
      filled = batch["part"]["text"][row + 2]
      np.testing.assert_array_equal(filled, batch["part"]["text"][row + 1])
    decode = Tokenizer().decode
    for row, text in enumerate(batch["part"]["text"]):
      owner = decode(batch["whole"]["text"][row // 3].tolist())
      assert decode(text.tolist()) in owner


def test_sources_mix_by_weight_and_each_epoch_is_whole(source, tmp_path):
  members = [
    member
    for i in range(4)
    for member in tars.processed_members(f"{i}", caption=f"picture {i}")
  ]
  other = TarSource([tars.write_tar(tmp_path / "a.tar", members)])
  options = {"weights": (3.0, 1.0), "display": with_parts(1, (77,))}
  batches = take(source, other, count=8, **options)
  texts = captions(batches)
  from_other = [text for text in texts if text.startswith("picture")]
  assert len(from_other) == 8
  assert sorted(from_other[:4]) == [f"picture {i}" for i in range(4)]
  first = [text for text in texts if not text.startswith("picture")][:RECORDS]
  assert len(set(first)) == RECORDS
  later = take(source, other, count=4, examples_seen=16, **options)
  assert rows(later) == rows(batches)[16:]


def spoil(path, names, data=b"no jpeg"):
  """Overwrites the first bytes of some members of a tar."""
  with tarfile.open(path) as tar:
    offsets = [tar.getmember(name).offset_data for name in names]
  with open(path, "r+b") as file:
    for offset in offsets:
      file.seek(offset)
      file.write(data)


def spoiled_source(folder, names, data=b"no jpeg"):
  """Ten records, some members of which are spoiled."""
  members = [
    member
    for i in range(10)
    for member in tars.raw_members(f"{i}", i, caption=f"a red ball {i}")
  ]
  path = tars.write_tar(folder / "00007.tar", members)
  spoil(path, names, data)
  return TarSource([path])


@pytest.mark.parametrize("name", ["3.jpg", "3.json"])
def test_a_bad_record_is_replaced_alike_on_every_host(tmp_path, name, caplog):
  source = spoiled_source(tmp_path, [name])
  faults = Faults(0.5)
  whole = take(
    source, count=5, batch_size=4, faults=faults, display=with_parts(1, (77,))
  )
  found = captions(whole)
  assert len(found) == 20
  for epoch in (found[:10], found[10:]):
    assert sorted(epoch) == sorted(
      f"a red ball {i}" for i in (0, 1, 2, 4, 4, 5, 6, 7, 8, 9)
    )
  hosts = [
    rows(
      take(
        source,
        count=5,
        batch_size=2,
        faults=Faults(0.5),
        process_index=host,
        process_count=2,
        display=with_parts(1, (77,)),
      )
    )
    for host in range(2)
  ]
  interleaved = [row for pair in zip(*hosts, strict=True) for row in pair]
  assert interleaved == rows(whole)
  assert faults.bad >= 2  # once an epoch, and in batches made ahead
  assert f"{source.name(3)}" in caplog.text
  assert "00007.tar: record '3'" in caplog.text
  names = pipeline.names([source], (1.0,), 0, range(20), with_parts(1))
  seen = [f"a red ball {key_of(name)}" for name in names]
  assert seen == found
  path = tmp_path / "00007.tar"
  replaced = f"{path}: record '4', in place of {path}: record '3'"
  assert names.count(replaced) == 2
  # The count at a position is that of the examples before it.
  at = [names.index(replaced), len(names) - names[::-1].index(replaced) - 1]
  for position in (0, at[0], at[0] + 1, at[1], at[1] + 1, 20):
    assert faults.until(position) == sum(a < position for a in at)
  assert faults.bad >= 2


def test_a_chosen_part_that_is_bad_replaces_the_record(tmp_path):
  """And one that is not chosen does not, in what is seen and in its name."""
  members = [
    m
    for i in range(4)
    for m in tars.processed_members(f"{i}", f"caption {i}", ("red", "ball"))
  ]
  path = tars.write_tar(tmp_path / "a.tar", members)
  spoil(path, ["1.parent001.jpg"], b"no jpeg")
  source = TarSource([path])
  whole = take(source, count=10, faults=Faults(1.0))
  names = pipeline.names([source], (1.0,), 0, range(40), with_parts(1))
  seen = [f"caption {key_of(name)}" for name in names]
  assert seen == captions(whole)
  replaced = [name for name in names if "in place of" in name]
  assert 0 < len(replaced) < 10  # of ten draws of record 1


def test_a_reading_error_is_a_bad_record(tmp_path, monkeypatch):
  source = spoiled_source(tmp_path, [])
  decode = pipeline.images.decode
  poison = tars.jpeg(5)

  def failing(data, *options):
    if data == poison:
      raise MemoryError("planted")
    return decode(data, *options)

  monkeypatch.setattr(pipeline.images, "decode", failing)
  found = captions(take(source, count=5, batch_size=2, faults=Faults(1.0)))
  assert sorted(found) == sorted(
    f"a red ball {i}" for i in (0, 1, 2, 3, 4, 6, 6, 7, 8, 9)
  )


def test_too_many_bad_records_stop_the_run(tmp_path):
  source = spoiled_source(tmp_path, [f"{i}.jpg" for i in (2, 5)])
  with pytest.raises(TooManyFaults, match=r"00007.tar: record '[25]'.*max_bad"):
    take(source, count=100, batch_size=4, faults=Faults(0.001))
  # Threads make batches ahead: the other may be found before the first is told.
  with pytest.raises(TooManyFaults, match=r"[12] of the first \d+ examples"):
    take(source, count=100, batch_size=4, faults=Faults(0.0))
  (tmp_path / "all").mkdir()
  source = spoiled_source(tmp_path / "all", [f"{i}.jpg" for i in range(10)])
  with pytest.raises(TooManyFaults, match="100 records in a row are bad"):
    take(source, count=1, faults=Faults(1.0))
