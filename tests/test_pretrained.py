"""Models come and go in every format, and strangers are told."""

import json
import pathlib
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

import hyperclip_jax
from hyperclip_jax import build, release
from hyperclip_jax.checkpoint import Checkpoints
from tests import golden_files, small
from tests.test_hyperclip import pictures

HEADS = {"vision_heads": 4, "text_heads": 2}
HEADER = b'{"a":{"dtype":"F32","shape":[99999999],"data_offsets":[0,4]}}'
TEXTS = ["a red circle", "a thing"]


def load_golden(name):
  path = golden_files.FOLDER / f"{name}_mini_init.pth"
  return hyperclip_jax.load(path, **HEADS)


@pytest.fixture(scope="module")
def golden():
  return load_golden("hycoclip")


@pytest.fixture
def folder(golden, tmp_path):
  golden.save_pretrained(tmp_path / "model")
  return tmp_path / "model"


def edit_config(folder, change):
  path = folder / "config.json"
  config = json.loads(path.read_text())
  change(config)
  path.write_text(json.dumps(config))


def edit_weights(folder, change):
  path = folder / "model.safetensors"
  arrays = safetensors.numpy.load_file(path)
  change(arrays)
  safetensors.numpy.save_file(arrays, path)


@pytest.mark.parametrize("name", golden_files.OBJECTIVES)
def test_released_model_is_the_same(name, tmp_path):
  model = load_golden(name)
  model.save_pretrained(tmp_path)
  assert sorted(p.name for p in tmp_path.iterdir()) == [
    "config.json", "model.safetensors"
  ]  # fmt: skip
  again = hyperclip_jax.load(tmp_path)
  assert again.name == model.name == name
  assert again.model == model.model
  jax.tree.map(np.testing.assert_array_equal, again.params, model.params)
  if name == "meru":
    np.testing.assert_array_equal(
      again.encode_image(pictures(2)), model.encode_image(pictures(2))
    )


def test_texts_of_an_official_file_differ(golden):
  x = golden.encode_text(TEXTS)
  assert np.isfinite(x).all()
  assert not np.allclose(x[0], x[1])


def test_config_says_what_the_file_said(folder, golden):
  config = json.loads((folder / "config.json").read_text())
  assert config["pixel_mean"] == list(golden.model.pixel_mean)
  assert config["image_size"] == 32
  assert config["model"]["text"]["context"] == 77
  edit_config(folder, lambda c: c.update(pixel_mean=[0.1, 0.2, 0.3]))
  assert hyperclip_jax.load(folder).model.pixel_mean == (0.1, 0.2, 0.3)


def test_a_runs_folder_is_not_overwritten(golden, tmp_path):
  (tmp_path / "config.json").write_text('{"steps": 3}')
  with pytest.raises(FileExistsError, match="give another folder"):
    golden.save_pretrained(tmp_path)
  assert json.loads((tmp_path / "config.json").read_text()) == {"steps": 3}


def test_a_run_is_loaded_and_released(tmp_path):
  config = small.config("meru")
  state = build.init(config)()
  (tmp_path / "config.json").write_text(config.to_json())
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state, {})
  model = hyperclip_jax.load(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, model.params, state.params)
  with pytest.raises(FileExistsError):
    model.save_pretrained(tmp_path)
  model.save_pretrained(tmp_path / "release")
  again = hyperclip_jax.load(tmp_path / "release")
  np.testing.assert_array_equal(
    again.encode_text(TEXTS), model.encode_text(TEXTS)
  )


def test_missing_and_unexpected_weights_are_listed(folder):
  def change(arrays):
    del arrays["visual_proj.kernel"]
    arrays["classifier"] = np.zeros(3, np.float32)

  edit_weights(folder, change)
  with pytest.raises(
    ValueError,
    match=r"missing visual_proj.kernel; unexpected classifier$",
  ):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_wrong_shape_or_dtype_is_named(dtype, folder):
  wrong = np.zeros((64, 32) if dtype == np.float16 else (64, 31), dtype)
  edit_weights(
    folder, lambda arrays: arrays.update({"visual_proj.kernel": wrong})
  )
  kind = "F16" if dtype == np.float16 else "F32"
  with pytest.raises(
    ValueError, match=rf"visual_proj.kernel' is {kind} .*wants F32 \(64, 32\)"
  ):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize(
  ("head", "message"),
  [
    ((2**62).to_bytes(8, "little"), "header of 4,611,686,018,427,387,904 b"),
    ((100).to_bytes(8, "little") + b"{", "header of 100 bytes in a file of 9"),
    (b"", "a file of 0"),
    ((2).to_bytes(8, "little") + b"[]", "not a safetensors file"),
    (len(HEADER).to_bytes(8, "little") + HEADER, "not a safetensors file"),
  ],
)
def test_lying_headers_are_refused(head, message, folder):
  (folder / "model.safetensors").write_bytes(head)
  with pytest.raises(ValueError, match=message):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.update(format_version=2), "format_version"),
    (lambda c: c.pop("image_size"), "missing image_size; unexpected nothing"),
    (lambda c: c["model"].update(head=1), "unexpected model.head"),
    (lambda c: c.update(image_size=2**40), "image_size must be 1 to 65,536"),
    (lambda c: c.update(image_size=65_536), "at most 16,384 patches"),
    (lambda c: c["model"]["vision"].update(depth=True), "depth must be 1 to"),
    (lambda c: c["model"]["text"].update(heads=3), "divide by 3 heads"),
    (lambda c: c.update(pixel_std=[0, 1, 1]), "pixel_std must be three"),
    (lambda c: c.update(objective="siglip"), "objective must be one of"),
    (
      lambda c: c.update({"model.embed_dim": c["model"].pop("embed_dim")}),
      "missing nothing",
    ),
    (lambda c: c.update(objective=["clip"]), "objective must be one of"),
  ],
)
def test_bad_config_is_named(change, message, folder):
  edit_config(folder, change)
  with pytest.raises(ValueError, match=message):
    hyperclip_jax.load(folder)


def test_strangers_are_told(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no such file or folder; a mod"):
    hyperclip_jax.load(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match=r"config\.json: no such file"):
    hyperclip_jax.load(tmp_path)
  (tmp_path / "config.json").write_text('{"model_type": "clip"}')
  with pytest.raises(ValueError, match=r"not of a training run.*model_type"):
    hyperclip_jax.load(tmp_path)
  (tmp_path / "config.json").write_text("{" * 100_000)
  with pytest.raises(ValueError, match="no JSON"):
    hyperclip_jax.load(tmp_path)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.update(objective="clip"), "not a run's config"),
    (lambda c: c["objective"].update(name=["clip"]), "objective.name|type"),
    (lambda c: c["objective"].update(name="__import__('os')"), "must be one"),
    (lambda c: c.update(model=7), "not a run's config"),
    (lambda c: c["model"].update(vision=None), "not a run's config"),
    (lambda c: c["model"]["vision"].update(width="9" * 99), "width"),
    (lambda c: c["model"]["vision"].update(heads=0), "heads must be finite"),
    (lambda c: c["model"].update(embed_dim=-1), "embed_dim must be finite"),
    (lambda c: c["model"].update(dtype="object"), "dtype must be one of"),
    (lambda c: c["optim"].update(learning_rate=float("nan")), "learning_rate"),
    (lambda c: c["data"]["distortions"].update(flip=[]), "flip"),
    (lambda c: c.update({"a.b": 1}), "a.b"),
    (lambda c: c.update(mesh={"model": "${HOME}"}), "model"),
  ],
)
def test_a_runs_config_from_outside_is_named(change, message, tmp_path):
  config = json.loads(small.config("clip").to_json())
  change(config)
  path = tmp_path / "config.json"
  path.write_text(json.dumps(config))
  with pytest.raises(ValueError, match=message) as error:
    hyperclip_jax.load(tmp_path)
  assert str(path) in str(error.value)
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


def test_heads_are_of_official_files_alone(folder):
  with pytest.raises(ValueError, match=r"heads are for a \.pth"):
    hyperclip_jax.load(folder, vision_heads=4)


class FakeHub:
  """One repository, a folder."""

  def __init__(self, folder):
    self.folder = folder

  def create_repo(self, name, private, exist_ok):
    if "/" not in name:
      raise KeyError("Repo id must be in the form 'namespace/repo_name'")
    self.made = (name, private, exist_ok)

  def upload_folder(self, repo_id, folder_path, commit_message):
    read = release.read(pathlib.Path(folder_path))
    release.write(self.folder / repo_id, read)

  def snapshot_download(self, name, allow_patterns):
    assert allow_patterns == ["config.json", "model.safetensors"]
    if not (self.folder / name).exists():
      raise KeyError("404 Client Error: Repository Not Found")
    return str(self.folder / name)


def test_hub(golden, tmp_path, monkeypatch):
  hub = FakeHub(tmp_path)
  monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
  golden.push_to_hub("org/name", private=True)
  assert hub.made == ("org/name", True, True)
  again = hyperclip_jax.load("hf-hub:org/name")
  jax.tree.map(np.testing.assert_array_equal, again.params, golden.params)
  with pytest.raises(OSError, match=r"hf-hub:org/none: not fetched: .*404"):
    hyperclip_jax.load("hf-hub:org/none")
  with pytest.raises(OSError, match="hf-hub:name: not uploaded"):
    golden.push_to_hub("name")


def test_hub_without_its_extra(golden, monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ImportError, match=r"hyperclip-jax\[hub\]"):
    hyperclip_jax.load("hf-hub:org/name")
