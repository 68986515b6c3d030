"""The embedded data set: what is written is what is said, and always the same.

Read back with the standard library only, as any other reader of GRIT would.
"""

import hashlib
import io
import json
import pathlib
import random
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.feed.tokenizer import Tokenizer

SMALL = {"train": 150, "val": 200, "objects": 96, "shard_size": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("shapes") / "data"
  shapes.generate(folder, **SMALL)
  return folder


def read(folder: pathlib.Path, split: str) -> list[tuple[dict, bytes]]:
  records = []
  for path in sorted((folder / split).iterdir()):
    with tarfile.open(path) as tar:
      members = {m.name: tar.extractfile(m).read() for m in tar}  # type: ignore
    keys = dict.fromkeys(name.partition(".")[0] for name in members)
    assert list(members) == [
      f"{k}.{s}" for k in keys for s in ("jpg", "json", "txt")
    ]
    for key in keys:
      meta = json.loads(members[f"{key}.json"])
      assert meta["key"] == key
      assert members[f"{key}.txt"].decode() == meta["caption"]
      records.append((meta, members[f"{key}.jpg"]))
  return records


def spans(meta: dict, field: str) -> list[str]:
  for start, end, *_ in meta[field]:
    assert isinstance(start, float)
    assert isinstance(end, float)
  return [meta["caption"][int(row[0]) : int(row[1])] for row in meta[field]]


def digests(folder: pathlib.Path) -> dict[str, str]:
  return {
    str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(folder.rglob("*"))
    if path.is_file()
  }


def test_layout_and_counts(folder):
  assert sorted(p.name for p in folder.iterdir()) == [
    "digests.json",
    "hierarchy.json",
    "manifest.json",
    "objects",
    "train",
    "val",
  ]
  for split in ("train", "val", "objects"):
    records = read(folder, split)
    assert len(records) == SMALL[split]
    assert len({meta["key"] for meta, _ in records}) == SMALL[split]
    for meta, jpeg in records:
      assert Image.open(io.BytesIO(jpeg)).size == (64, 64)
      assert (meta["width"], meta["height"]) == (64, 64)
  assert sorted(p.name for p in (folder / "val").iterdir()) == [
    "00000.tar",
    "00001.tar",
  ]


def test_spans_are_whole_phrases_of_their_own(folder):
  names = [*shapes.FAMILY, "thing", "shape"]
  for meta, _ in read(folder, "train") + read(folder, "val"):
    phrases = spans(meta, "noun_chunks")
    assert len(set(phrases)) == len(phrases)
    assert 1 <= len(phrases) <= 4
    for phrase in phrases:
      article, *_, noun = phrase.split(" ")
      assert noun in names
      assert article in ("a", "an", "the")
      if article != "the":
        vowel = phrase.split(" ")[1][0] in "aeiou"
        assert article == ("an" if vowel else "a")
    for ref, row in zip(spans(meta, "ref_exps"), meta["ref_exps"], strict=True):
      # It begins with the phrase of the thing whose box it has.
      head = next(p for p in phrases if ref.startswith(p + " "))
      chunk = meta["noun_chunks"][phrases.index(head)]
      assert chunk[2:] == row[2:]
      assert len(ref) < len(meta["caption"])


def test_no_two_things_share_a_phrase():
  # "a ring" would do for each of these; a reader keeps one box per phrase.
  leaves = ["red ring", "blue ring", "green ring", "pink ring"]
  for seed in range(200):
    rng = random.Random(seed)
    caption = shapes.Caption(rng, shapes.arrange(rng, leaves))
    meta = {"caption": caption.text, "noun_chunks": caption.noun_chunks}
    assert len(set(spans(meta, "noun_chunks"))) == 4


def test_boxes_are_inside_and_apart(folder):
  for meta, _ in read(folder, "train"):
    boxes = [row[2:6] for row in meta["noun_chunks"]]
    for i, (x1, y1, x2, y2) in enumerate(boxes):
      assert 0 < x1 < x2 < 1
      assert 0 < y1 < y2 < 1
      assert max(x2 - x1, y2 - y1) * 64 >= 18
      for a1, b1, a2, b2 in boxes[:i]:
        assert a2 < x1 or x2 < a1 or b2 < y1 or y2 < b1


@pytest.mark.parametrize("image_size", [64, 128])
def test_boxes_are_tight(tmp_path, image_size):
  shapes.generate(
    tmp_path / "d", train=0, val=0, objects=192, image_size=image_size
  )
  for meta, jpeg in read(tmp_path / "d", "objects"):
    image = np.asarray(Image.open(io.BytesIO(jpeg)), np.int32)
    drawn = np.abs(image - image[0, 0]).sum(-1) > 48
    ys, xs = np.nonzero(drawn)
    edges = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    box = np.array(meta["noun_chunks"][0][2:6]) * image_size
    # A pixel is drawn or not, and the tip of a star covers little of its own.
    np.testing.assert_allclose(edges, box, atol=2.0, err_msg=meta["label"])


def test_positions_and_relations_are_true(folder):
  for meta, _ in read(folder, "val"):
    phrases = spans(meta, "noun_chunks")
    centres = {
      phrase: (row[2] + row[4] - 1, row[3] + row[5] - 1)
      for phrase, row in zip(phrases, meta["noun_chunks"], strict=True)
    }
    for ref in spans(meta, "ref_exps"):
      head = next(p for p in phrases if ref.startswith(p + " "))
      (x, y), tail = centres[head], ref.removeprefix(head + " ")
      other = [p for p in phrases if tail.endswith(" " + p)]
      if other:
        (a, b), word = centres[other[0]], tail.split()[0]
        assert {"left": x < a, "right": x > a, "above": y < b, "below": y > b}[
          word
        ]
      else:
        assert ("left" in tail) <= (x < 0)
        assert ("right" in tail) <= (x > 0)
        assert ("top" in tail) <= (y < 0)
        assert ("bottom" in tail) <= (y > 0)
        assert ("middle" in tail) <= (abs(x) + abs(y) < 0.5)


def test_colours_are_drawn_as_said(folder):
  for meta, jpeg in read(folder, "objects"):
    image = np.asarray(Image.open(io.BytesIO(jpeg)), np.int32).reshape(-1, 3)
    colour = np.array(shapes.COLOURS[meta["label"].split()[0]])
    assert (np.abs(image - colour).max(-1) < 32).sum() > 20


def test_objects_are_balanced_and_labelled(folder):
  metas = [meta for meta, _ in read(folder, "objects")]
  assert sorted(meta["label"] for meta in metas) == sorted(shapes.LEAVES)
  assert sum(meta["held_out"] for meta in metas) == 12
  for meta in metas:
    assert meta["held_out"] == (meta["label"] in shapes.HELD_OUT)
    (phrase,) = spans(meta, "noun_chunks")
    colour, shape = meta["label"].split()
    assert set(phrase.split()) & {shape, "thing", "shape"}
    assert not set(phrase.split()) & (set(shapes.COLOURS) - {colour})


def test_held_out_pairs_never_occur_in_train(folder):
  def pairs(split):
    for meta, _ in read(folder, split):
      for phrase in spans(meta, "noun_chunks"):
        words = set(phrase.split())
        for leaf in shapes.LEAVES:
          if set(leaf.split()) <= words:
            yield leaf

  assert len({leaf.split()[1] for leaf in shapes.HELD_OUT}) == 12
  assert not set(pairs("train")) & shapes.HELD_OUT
  assert set(pairs("val")) & shapes.HELD_OUT


def test_what_is_drawn_in_train_is_not_held_out(monkeypatch):
  # The captions may stay silent about a leaf; the drawings may not have it.
  drawn = []
  arrange = shapes.arrange

  def record(rng, leaves):
    drawn.extend(leaves)
    return arrange(rng, leaves)

  monkeypatch.setattr(shapes, "arrange", record)
  for index in range(600):
    shapes._record("train", index, 64, 0)
  assert set(drawn) == set(shapes.SEEN)


def test_hierarchy_is_a_rooted_dag(folder):
  parents = shapes.hierarchy()
  written = json.loads((folder / "hierarchy.json").read_text())
  assert {node: tuple(ps) for node, ps in written.items()} == parents
  assert [node for node, ps in parents.items() if not ps] == [shapes.ROOT]

  def ancestors(node, below=()):
    assert node not in below
    return {node}.union(*(ancestors(p, (*below, node)) for p in parents[node]))

  for node in parents:
    assert shapes.ROOT in ancestors(node)
  inner = {parent for ps in parents.values() for parent in ps}
  assert set(parents) - inner == set(shapes.LEAVES)
  assert len(shapes.LEAVES) == len(set(shapes.LEAVES)) == 96
  assert ancestors("red circle") == {
    "red circle",
    "circle",
    "round shape",
    "thing",
  }


def test_every_word_is_one_token(folder):
  words = {
    word
    for split in ("train", "val")
    for meta, _ in read(folder, split)
    for word in meta["caption"].replace(",", "").split()
  }
  ids = Tokenizer()([*sorted(words), *shapes.LEAVES])
  lengths = (ids != 0).sum(-1)
  assert set(lengths[: len(words)]) == {3}  # start, the word, end


def test_same_seed_same_bytes_and_a_new_seed_new_ones(folder, tmp_path):
  shapes.generate(tmp_path / "a", **SMALL)
  shapes.generate(tmp_path / "b", **SMALL, seed=1)
  assert digests(tmp_path / "a") == digests(folder)
  other = digests(tmp_path / "b")
  same = [p for p, digest in digests(folder).items() if other[p] == digest]
  assert same == ["hierarchy.json"]


def test_bytes_do_not_depend_on_the_process(folder, tmp_path):
  command = [sys.executable, "-m", "hyperclip_jax", "shapes"]
  command += ["--output", str(tmp_path / "a")]
  command += [f"--{name}={value}" for name, value in SMALL.items()]
  subprocess.run(command, check=True, cwd=pathlib.Path(__file__).parents[3])
  assert digests(tmp_path / "a") == digests(folder)


def test_a_longer_split_begins_with_the_shorter(tmp_path):
  shapes.generate(tmp_path / "a", train=20, val=0, objects=0, shard_size=10)
  shapes.generate(tmp_path / "b", train=30, val=0, objects=0, shard_size=10)
  a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
  assert a["train/00001.tar"] == b["train/00001.tar"]


def test_a_complete_folder_is_left_alone(folder, monkeypatch):
  monkeypatch.setattr(shapes, "_record", pytest.fail)
  before = digests(folder)
  shapes.generate(folder, **SMALL)
  assert digests(folder) == before


def test_other_parameters_are_refused_by_name(folder):
  before = digests(folder)
  with pytest.raises(ValueError, match=r"seed 0 \(wanted: 7\)"):
    shapes.generate(folder, **SMALL, seed=7)
  assert digests(folder) == before


@pytest.mark.parametrize("what", ["missing", "changed", "unsealed"])
def test_a_folder_that_lost_or_changed_a_shard_is_refused(tmp_path, what):
  few = {"train": 4, "val": 1, "objects": 1, "shard_size": 2}
  shapes.generate(tmp_path / "d", **few)
  shard = tmp_path / "d" / "train" / "00001.tar"
  if what == "missing":
    shard.unlink()
  elif what == "changed":
    shard.write_bytes((tmp_path / "d" / "train" / "00000.tar").read_bytes())
  else:
    (tmp_path / "d" / "digests.json").unlink()
  name = "digests.json" if what == "unsealed" else "train/00001.tar"
  with pytest.raises(ValueError, match=rf"{name}.* Remove the folder"):
    shapes.generate(tmp_path / "d", **few)


@pytest.mark.parametrize("split", ["train", "val", "objects"])
def test_a_tar_that_was_added_is_named(tmp_path, split):
  few = {"train": 4, "val": 1, "objects": 1, "shard_size": 2}
  shapes.generate(tmp_path / "d", **few)
  (tmp_path / "d/train/00000.tar.index").touch()  # a run makes it
  shapes.generate(tmp_path / "d", **few)
  added = tmp_path / "d" / split / "00009.tar"
  added.write_bytes((tmp_path / "d/train/00000.tar").read_bytes())
  match = rf"holds {split}/00009\.tar, which is not part"
  with pytest.raises(ValueError, match=match):
    shapes.generate(tmp_path / "d", **few)
  added.unlink()
  shapes.generate(tmp_path / "d", **few)


def test_a_foreign_folder_is_refused(tmp_path):
  (tmp_path / "photo.jpg").write_bytes(b"mine")
  with pytest.raises(FileExistsError, match="no manifest"):
    shapes.generate(tmp_path, train=1, val=1, objects=1)
  assert [p.name for p in tmp_path.iterdir()] == ["photo.jpg"]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
  record = shapes._record

  def interrupted(split, index, image_size, seed):
    if split == "val":
      raise KeyboardInterrupt
    return record(split, index, image_size, seed)

  monkeypatch.setattr(shapes, "_record", interrupted)
  with pytest.raises(KeyboardInterrupt):
    shapes.generate(tmp_path / "d", train=3, val=3, objects=3)
  assert not list(tmp_path.iterdir())
  monkeypatch.undo()
  shapes.generate(tmp_path / "d", train=3, val=3, objects=3)
  assert (tmp_path / "d" / "manifest.json").is_file()


def test_losing_the_race_to_another_process_is_no_error(tmp_path, monkeypatch):
  record, few = shapes._record, {"train": 2, "val": 1, "objects": 1}

  def slow(*args):
    monkeypatch.undo()
    shapes.generate(tmp_path / "d", **few)  # the other one, done meanwhile
    return record(*args)

  monkeypatch.setattr(shapes, "_record", slow)
  shapes.generate(tmp_path / "d", **few)
  assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("train", -1),
    ("val", -1),
    ("objects", -5),
    ("image_size", 8),
    ("shard_size", 0),
    ("shard_size", 10_001),
  ],
)
def test_values_are_checked_before_any_work(tmp_path, name, value):
  with pytest.raises(ValueError, match=f"{name} is {value}"):
    shapes.generate(tmp_path / "d", **{name: value})
  assert not list(tmp_path.iterdir())
