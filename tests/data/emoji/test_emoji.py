"""Emoji: packages are checked, scenes are true, one vendor stays unseen."""

import collections
import hashlib
import io
import json
import random
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from hyperclip_jax import main
from hyperclip_jax.data.emoji import concepts, generate, packages, scenes
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.evals.metrics import hierarchy

ANIMALS = [f"animal {i}" for i in range(18)]
NAMES = [*ANIMALS, "polar bear", "grapes", "key", "yo-yo"]
GROUPS = ["animals-nature"] * 19 + ["food-drink", "objects", "activities"]
KINDS = ["animal-mammal"] * 19 + ["food-fruit", "lock", "game"]
CODES = [f"1F{i:03X}" for i in range(len(NAMES))]
COLOURS = {"noto": "red", "twemoji": "blue", "fluent": "lime"}
FEW = {"train": 60, "val": 20, "shard_size": 40}


def tar(path, content):
  with tarfile.open(path, "w:gz") as file:
    for name, data in content.items():
      info = tarfile.TarInfo(name)
      info.size = len(data)
      file.addfile(info, io.BytesIO(data))
  return hashlib.sha256(path.read_bytes()).hexdigest()


def disc(colour, kind):
  image = Image.new("RGBA", (64, 64))
  ImageDraw.Draw(image).ellipse((8, 12, 55, 51), colour)
  data = io.BytesIO()
  image.save(data, kind, **({"lossless": True} if kind == "webp" else {}))
  return data.getvalue()


@pytest.fixture(scope="module")
def npm(tmp_path_factory):
  """Small packages in the layout of the real ones."""
  folder = tmp_path_factory.mktemp("npm")
  before = dict(packages.PACKAGES)
  for vendor, colour in COLOURS.items():
    package = before[vendor]
    picture = disc(colour, package.suffix.removeprefix("."))
    drawn = {
      f"{package.pictures}{code.lower()}-fe0f{package.suffix}": picture
      for code in CODES
    }
    digest = tar(folder / package.file, drawn | {"package/README.md": b"-"})
    packages.PACKAGES[vendor] = package._replace(digest=digest)
  rows = ["hexcode,group,subgroups,annotation,tags,skintone"]
  rows += [
    f'{code},{group},{kind},{name},"wild, {name}, nice",'
    for code, group, kind, name in zip(CODES, GROUPS, KINDS, NAMES, strict=True)
  ]
  rows += [
    "1F600,smileys-emotion,face-smiling,grinning face,happy,",  # not concrete
    f"{CODES[0]}-1F3FB,animals-nature,animal-mammal,pale,,1",  # skin tone
    "1F999,objects,tool,axe,,",  # which no vendor draws
  ]
  svg = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 72 72">'
    '<circle cx="36" cy="36" r="20" fill="#800080"/></svg>'
  )
  drawn = {f"package/color/svg/{code}.svg": svg.encode() for code in CODES}
  table = {"package/data/openmoji.csv": "\n".join(rows).encode()}
  open_package = before["openmoji"]
  digest = tar(folder / open_package.file, drawn | table)
  packages.PACKAGES["openmoji"] = open_package._replace(digest=digest)
  yield folder
  packages.PACKAGES.update(before)


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory):
  """Four nouns in WordNet's format: polar bear, bear, animal, entity."""
  folder = tmp_path_factory.mktemp("wordnet")
  data, index, offset = "  1 licence\n", "  1 licence\n", 12
  above = ""
  for lemma in ("entity", "animal", "bear", "polar_bear"):
    pointers = f"001 @ {above} n 0000" if above else "000"
    line = f"{offset:08d} 03 n 01 {lemma} 0 {pointers} | a gloss\n"
    data += line
    symbols = "1 @" if above else "0"
    index += f"{lemma} n 1 {symbols} 1 0 {offset:08d}  \n"
    above, offset = f"{offset:08d}", offset + len(line)
  (folder / "data.noun").write_text(data)
  (folder / "index.noun").write_text(index)
  return folder


@pytest.fixture(scope="module")
def folder(npm, wordnet, tmp_path_factory):
  folder = tmp_path_factory.mktemp("emoji") / "data"
  generate.generate(folder, npm, wordnet=wordnet, **FEW)
  return folder


def read(folder, split):
  source = TarSource(expand(f"{folder}/{split}/*.tar"), 1)
  return [source[i] for i in range(len(source))]


def test_splits_vendors_and_labels(folder):
  assert len(read(folder, "train")) == FEW["train"]
  vendors = collections.Counter(r.meta["vendor"] for r in read(folder, "train"))
  assert set(vendors) == {"noto", "twemoji"}
  for split in ("val", "objects"):
    assert {r.meta["vendor"] for r in read(folder, split)} == {"fluent"}
  assert [r.meta["label"] for r in read(folder, "objects")] == NAMES


def test_every_tenth_of_a_kind_is_never_trained_on(folder):
  objects = read(folder, "objects")
  new = [r.meta["label"] for r in objects if r.meta["held_out"]]
  assert new == [NAMES[9]]
  parts = [part.text for r in read(folder, "train") for part in r.parts]
  assert not any(text.endswith(NAMES[9]) for text in parts)
  assert any(text.endswith(NAMES[8]) for text in parts)


def test_boxes_hold_what_is_drawn(folder):
  """A disc of the vendor's colour fills the middle of each box."""
  for record in read(folder, "objects"):
    image = Image.open(io.BytesIO(record.image)).convert("RGB")
    (box,) = {part.box for part in record.parts} or {(0.25, 0.25, 0.75, 0.75)}
    x = round((box[0] + box[2]) / 2 * image.width)
    y = round((box[1] + box[3]) / 2 * image.height)
    red, green, blue = image.getpixel((x, y))
    assert green > 200
    assert max(red, blue) < 60


def test_phrases_name_concepts_or_what_is_above(folder):
  known = {n for c in concepts.words().values() for n in c} | {concepts.ROOT}
  known |= {*NAMES, "bear", "animal", "entity"}
  for record in read(folder, "train") + read(folder, "val"):
    for part in record.parts:
      noun = part.text
      for article in ("a ", "an ", "the "):
        noun = noun.removeprefix(article)
      assert noun in known


def test_trees(folder):
  tree = json.loads((folder / "hierarchy.json").read_text())
  hierarchy.validate({node: tuple(above) for node, above in tree.items()})
  assert tree["polar bear"] == ["mammal"]
  assert tree["mammal"] == ["animal"]
  assert tree["animal"] == ["living thing"]
  assert [node for node, above in tree.items() if not above] == ["thing"]
  nouns = json.loads((folder / "wordnet.json").read_text())
  assert nouns == {
    "polar bear": ["bear (noun)"],
    "bear (noun)": ["animal (noun)"],
    "animal (noun)": ["entity (noun)"],
    "entity (noun)": [],
  }


def test_every_subgroup_has_words_and_no_concept_has_them():
  words = concepts.words()
  assert len(words) == 49
  nodes = {node for above in words.values() for node in above}
  assert len(nodes) == 49 + 5 + 1  # subgroups, groups, and animals


def test_the_same_parameters_give_the_same_bytes(
  npm, wordnet, folder, tmp_path
):
  generate.generate(tmp_path / "b", npm, wordnet=wordnet, **FEW)
  for path in folder.rglob("*.tar"):
    twin = tmp_path / "b" / path.relative_to(folder)
    assert twin.read_bytes() == path.read_bytes()


def test_openmoji_may_be_trained_on(npm, tmp_path):
  pytest.importorskip("resvg_py")
  generate.generate(tmp_path / "d", npm, openmoji=True, **FEW)
  vendors = {r.meta["vendor"] for r in read(tmp_path / "d", "train")}
  assert vendors == {"noto", "twemoji", "openmoji"}


def test_missing_packages_are_named_with_the_command(tmp_path):
  argv = ["emoji", f"--packages={tmp_path}", f"--output={tmp_path}/d"]
  with pytest.raises(SystemExit) as stopped:
    main.start(argv)
  said = str(stopped.value)
  assert "emoji-datasource-google-16.0.0.tgz" in said
  assert "npm pack" in said
  assert not (tmp_path / "d").exists()


def test_another_package_of_the_same_name_is_refused(npm, tmp_path):
  for package in packages.PACKAGES.values():
    (tmp_path / package.file).write_bytes((npm / package.file).read_bytes())
  changed = tmp_path / packages.PACKAGES["noto"].file
  changed.write_bytes(b"another")
  with pytest.raises(ValueError, match=r"google-16.0.0.tgz is not .*SHA-256"):
    packages.find(tmp_path)


def test_a_missing_wordnet_is_named(npm, tmp_path):
  with pytest.raises(FileNotFoundError, match="wordnet-base"):
    generate.generate(tmp_path / "d", npm, wordnet=tmp_path, **FEW)


MADE = [
  concepts.Concept(
    str(i), name, ("a", "b"), "game", ("toy", "pastime"), nouns, False
  )
  for i, (name, nouns) in enumerate(
    [("apple", ("fruit",)), ("glasses", ()), ("Été", ()), ("dice", ("cube",))]
  )
]


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_offsets_are_of_whole_phrases(seed, count):
  rng = random.Random(seed)
  placed = [
    scenes.Placed(c, (0.0, 0.0, 1.0, 1.0)) for c in rng.sample(MADE, count)
  ]
  text, rows = scenes.words(rng, placed)
  assert len(rows) == count
  ends = 0
  for start, end, *_ in rows:
    phrase = text[int(start) : int(end)]
    assert start >= ends
    assert phrase
    assert phrase == phrase.strip()
    assert not text[int(start) - 1 : int(start)].isalnum()
    assert not text[int(end) : int(end) + 1].isalnum()
    ends = end
  phrases = [text[int(a) : int(b)] for a, b, *_ in rows]
  assert len({*phrases}) == count


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_boxes_are_inside_and_apart(seed, count):
  rng = random.Random(seed)
  image = Image.new("RGBA", (40, 24), "red")
  drawn = {c.code: image for c in MADE}
  chosen = rng.sample(MADE, count)
  _, meta = scenes.scene(rng, chosen, drawn, 64)
  boxes = [row[2:6] for row in meta["noun_chunks"]]
  for x1, y1, x2, y2 in boxes:
    assert 0 <= x1 < x2 <= 1
    assert 0 <= y1 < y2 <= 1
  for i, a in enumerate(boxes):
    for b in boxes[:i]:
      assert (
        a[2] <= b[0] + 0.05
        or b[2] <= a[0] + 0.05
        or (a[3] <= b[1] + 0.05 or b[3] <= a[1] + 0.05)
      )
