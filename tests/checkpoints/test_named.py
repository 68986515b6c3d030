"""Published models by name, from a stand-in of the hub."""

import hashlib
import json
import re
import shutil
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw

import hyperclip_jax
from hyperclip_jax import systems
from hyperclip_jax.checkpoints import hub, named
from tests import golden_files

HEADS = {"vision_heads": 4, "text_heads": 2}


def test_the_table_is_complete_and_honest():
  table = hyperclip_jax.list_pretrained()
  assert "hycoclip-vit-b" in table
  assert "prolip-vit-b-16" in table
  for name, model in table.items():
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert model.system in systems.names()
    assert model.note
    assert model.sha256 == "" or re.fullmatch(r"[0-9a-f]{64}", model.sha256)
    if named.bundled(name):
      assert not model.repository
      assert hyperclip_jax.load(name).about.licence == model.licence
    elif model.repository:
      address = hub.parse(named.source(name))
      assert address == (model.repository, model.file or None, None)
    else:
      with pytest.raises(ValueError, match=f"{name}: no place on the hub"):
        hyperclip_jax.load(name)


def test_a_model_comes_with_the_package():
  model = hyperclip_jax.load("emoji-mini")
  folder = named.bundled("emoji-mini")
  assert folder is not None
  assert named.models()["emoji-mini"].system == model.system
  assert (folder / "model.safetensors").stat().st_size <= 6_000_000
  assert f"license: {model.about.licence}" in (folder / "README.md").read_text()
  notice = (folder / "NOTICE").read_text(encoding="utf-8")
  for owner in ("UNICODE LICENSE V3", "WordNet 3.0 Copyright", "Twemoji"):
    assert owner in notice
  words = hyperclip_jax.Index.load(folder / "words.index")
  parents = json.loads((folder / "hierarchy.json").read_text("utf-8"))
  assert len(words) == len(parents)
  model.check_index(words)

  picture = Image.new("RGB", (64, 64), "white")  # the README's
  draw = ImageDraw.Draw(picture)
  draw.rectangle((28, 50, 36, 62), fill="#7a4a20")
  for y, w in ((2, 13), (17, 19), (32, 25)):
    draw.polygon([(32, y), (32 - w, y + 23), (32 + w, y + 23)], fill="#2e8b3a")
  (hits,) = model.search_image(picture, words, k=5)
  assert "evergreen tree" in {hit.name.split(" ", 1)[1] for hit in hits}

  inner = {above for row in parents.values() for above in row}
  leaves = [name for name in parents if name not in inner]
  near, far = (
    np.median(model.distance_to_root(model.encode_text(sorted(names))))
    for names in (inner, leaves)
  )
  assert near < far


@pytest.mark.parametrize("source", ["emoji_mini", "Emoji-Mini", "emoji-mni"])
def test_its_name_is_guessed(source):
  with pytest.raises(FileNotFoundError, match="did you mean emoji-mini"):
    hyperclip_jax.load(source)


class Hub:
  """One repository in a folder; counts downloads."""

  def __init__(self, folder):
    self.folder, self.fetched = folder, []

  def hf_hub_download(self, name, filename, revision):
    self.fetched.append((name, filename, revision))
    return str(self.folder / filename)


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
  for name in ("meru", "hycoclip", "clip"):
    shutil.copy(
      golden_files.FOLDER / f"{name}_mini_init.pth",
      tmp_path / f"{name}_vit_s.pth",
    )
  found = Hub(tmp_path)
  monkeypatch.setitem(sys.modules, "huggingface_hub", found)
  monkeypatch.chdir(tmp_path)
  return found


@pytest.mark.parametrize("system", ["meru", "hycoclip", "clip"])
def test_a_model_is_loaded_by_its_name(stand_in, system, tmp_path):
  model = hyperclip_jax.load(f"{system}-vit-s", **HEADS)
  assert model.system == system
  wanted = ("avik-pal/hycoclip", f"{system}_vit_s.pth", None)
  assert stand_in.fetched == [wanted]
  (tmp_path / f"{system}-vit-s").mkdir()  # a path of that name comes first
  with pytest.raises(FileNotFoundError, match=r"model\.json: no such file"):
    hyperclip_jax.load(f"{system}-vit-s")
  assert stand_in.fetched == [wanted]


def test_a_known_digest_and_licence_count(stand_in, monkeypatch, tmp_path):
  path = tmp_path / "meru_vit_s.pth"
  digest = hashlib.sha256(path.read_bytes()).hexdigest()
  entry = named.models()["meru-vit-s"]._replace(licence="mit", sha256=digest)
  monkeypatch.setitem(named.models(), "meru-vit-s", entry)
  assert hyperclip_jax.load("meru-vit-s", **HEADS).about.licence == "mit"
  path.write_bytes(path.read_bytes() + b" ")
  with pytest.raises(ValueError, match=f"not the meru-vit-s .* want {digest}"):
    hyperclip_jax.load("meru-vit-s", **HEADS)


@pytest.mark.parametrize(
  ("given", "wanted"),
  [
    ("hycoclip-vitb", "hycoclip-vit-b"),
    ("HyCoCLIP_ViT_B", "hycoclip-vit-b"),
    ("prolip-vit-b16", "prolip-vit-b-16"),
  ],
)
def test_a_mistyped_name_is_guessed(given, wanted):
  with pytest.raises(FileNotFoundError, match=f"did you mean {wanted}[?]$"):
    hyperclip_jax.load(given)


@pytest.mark.parametrize("source", [None, 5, b"x", ["a"]])
def test_other_sources_are_told(source):
  kind = type(source).__name__
  with pytest.raises(TypeError, match=f"source is of type {kind}: give a"):
    hyperclip_jax.load(source)
