"""Models come and go in every format, and strangers are told."""

import dataclasses
import json
import os
import resource
import shutil
import signal
import sys
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

import hyperclip_jax
from hyperclip_jax import systems
from hyperclip_jax.checkpoints import hub as hub_lib
from hyperclip_jax.checkpoints import release, tensors
from hyperclip_jax.checkpoints.checkpoint import Checkpoints
from hyperclip_jax.inference import pretrained
from hyperclip_jax.training import build, runs, sharding, train
from hyperclip_jax.training import config as config_lib
from tests import golden_files, small
from tests.inference.test_model import pictures

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


def saved_run(folder, system, spoil=lambda state: None):
  """A run at step 0; returns its state."""
  config = small.config(system)
  task = build.task(config, sharding.make_mesh())
  state = jax.jit(build.init(config, task))()
  spoil(state)
  (folder / "config.json").write_text(config.to_json())
  release.describe(folder, system, config_lib.options(config))
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(state, {})
  return state


def edit_config(folder, change):
  path = folder / "model.json"
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
    "README.md", "model.json", "model.safetensors"
  ]  # fmt: skip
  again = hyperclip_jax.load(tmp_path)
  assert again.system == model.system == name
  assert again.options == model.options
  jax.tree.map(np.testing.assert_array_equal, again.variables, model.variables)
  if name == "meru":
    np.testing.assert_array_equal(
      again.encode_image(pictures(2)), model.encode_image(pictures(2))
    )


def test_texts_of_an_official_file_differ(golden):
  x = golden.encode_text(TEXTS)
  assert np.isfinite(x).all()
  assert not np.allclose(x[0], x[1])


def test_config_says_what_the_file_said(folder, golden):
  options = json.loads((folder / "model.json").read_text())["options"]
  assert options["pixel_mean"] == list(golden.options.pixel_mean)
  assert options["image_size"] == 32
  assert options["text"]["context"] == 77
  edit_config(folder, lambda c: c["options"].update(pixel_mean=[0.1, 0.2, 0.3]))
  assert hyperclip_jax.load(folder).options.pixel_mean == (0.1, 0.2, 0.3)


def test_what_a_newer_release_adds_takes_its_default(folder, golden):
  edit_config(folder, lambda c: c["options"].pop("unroll"))
  assert hyperclip_jax.load(folder).options == golden.options


@pytest.mark.parametrize("name", ["clip", "hycoclip"])
def test_a_release_of_version_1_is_read(name, tmp_path):
  model = load_golden(name)
  model.save_pretrained(tmp_path)
  (tmp_path / "model.json").unlink()
  edit_weights(
    tmp_path,
    lambda arrays: [
      arrays.update({key.removeprefix("params."): arrays.pop(key)})
      for key in list(arrays)
    ],
  )
  o = model.options
  sizes = ("width", "depth", "heads")
  old = {
    "format": "hyperclip-jax",
    "format_version": 1,
    "objective": name,
    "image_size": o.image_size,
    "pixel_mean": list(o.pixel_mean),
    "pixel_std": list(o.pixel_std),
    "model": {
      "vision": {n: getattr(o.vision, n) for n in (*sizes, "patch")},
      "text": {n: getattr(o.text, n) for n in (*sizes, "vocab", "context")},
      "embed_dim": o.embed_dim,
      "dtype": o.dtype,
    },
  }
  (tmp_path / "config.json").write_text(json.dumps(old))
  again = hyperclip_jax.load(tmp_path)
  assert again.options == o
  np.testing.assert_array_equal(
    again.encode_text(TEXTS), model.encode_text(TEXTS)
  )


def test_a_runs_folder_is_not_overwritten(golden, tmp_path):
  (tmp_path / "config.json").write_text('{"steps": 3}')
  with pytest.raises(FileExistsError, match="give another folder"):
    golden.save_pretrained(tmp_path)
  assert json.loads((tmp_path / "config.json").read_text()) == {"steps": 3}


def test_a_run_is_loaded_and_released(tmp_path):
  state = saved_run(tmp_path, "meru")
  model = hyperclip_jax.load(tmp_path)
  assert model.about.data == (
    "256 scenes of the embedded coloured shapes; 6 steps of 16 examples."
  )
  jax.tree.map(np.testing.assert_array_equal, model.variables, state.variables)
  with pytest.raises(FileExistsError):
    model.save_pretrained(tmp_path)
  model.save_pretrained(tmp_path / "release")
  again = hyperclip_jax.load(tmp_path / "release")
  np.testing.assert_array_equal(
    again.encode_text(TEXTS), model.encode_text(TEXTS)
  )


def test_missing_and_unexpected_weights_are_listed(folder):
  def change(arrays):
    del arrays["params.visual_proj.kernel"]
    arrays["classifier"] = np.zeros(3, np.float32)

  edit_weights(folder, change)
  with pytest.raises(
    ValueError,
    match=r"missing params.visual_proj.kernel; unexpected classifier$",
  ):
    hyperclip_jax.load(folder)


def test_what_was_checked_when_written_is_not_traced(folder, monkeypatch):
  """Tracing the towers takes as long as all the rest of loading."""
  traced = []
  true = pretrained.variable_shapes
  monkeypatch.setattr(
    pretrained, "variable_shapes", lambda e: traced.append(e) or true(e)
  )
  want = hyperclip_jax.load(folder).encode_text(TEXTS)
  hyperclip_jax.load("emoji-mini")
  assert not traced
  # Older releases, and those that were edited, are checked as ever.
  edit_config(folder, lambda c: c.pop("checked"))
  found = hyperclip_jax.load(folder).encode_text(TEXTS)
  np.testing.assert_array_equal(found, want)
  assert len(traced) == 1


def test_options_that_were_edited_are_checked(folder):
  edit_config(folder, lambda c: c["options"].update(embed_dim=8))
  with pytest.raises(ValueError, match=r"_proj.kernel' is F32 .*needs F32 "):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_wrong_shape_or_dtype_is_named(dtype, folder):
  wrong = np.zeros((64, 32) if dtype == np.float16 else (64, 31), dtype)
  edit_weights(
    folder, lambda arrays: arrays.update({"params.visual_proj.kernel": wrong})
  )
  kind = "F16" if dtype == np.float16 else "F32"
  with pytest.raises(
    ValueError, match=rf"visual_proj.kernel' is {kind} .*needs F32 \(64, 32\)"
  ):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize(
  ("head", "message"),
  [
    ((2**62).to_bytes(8, "little"), "header of 4,611,686,018,427,387,904 b"),
    ((100).to_bytes(8, "little") + b"{", "header of 100 bytes in a file of 9"),
    (b"", "empty: download"),
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
    (lambda c: c.update(format_version=3), "format_version"),
    (lambda c: c.pop("options"), '"options" an object'),
    (lambda c: c["options"].update(head=1), "head: no such value"),
    (lambda c: c["options"].update(image_size=2**40), "at most 65536"),
    (
      lambda c: c["options"].update(image_size=65_536),
      "at most 16,384 patches",
    ),
    (
      lambda c: c["options"]["vision"].update(depth=True),
      "vision.depth must be a whole number, found True",
    ),
    (lambda c: c["options"]["text"].update(heads=3), "heads must divide"),
    (lambda c: c["options"].update(pixel_std=[0, 1, 1]), "pixel_std must be"),
    (lambda c: c.update(system="siglip"), "system must be one of"),
    (lambda c: c.update(system="os.path"), "module of another package"),
    (lambda c: c.update(system=["clip"]), '"system" must be a text'),
  ],
)
def test_bad_config_is_named(change, message, folder):
  edit_config(folder, change)
  with pytest.raises(ValueError, match=message):
    hyperclip_jax.load(folder)


def test_strangers_are_told(tmp_path):
  with pytest.raises(FileNotFoundError, match=r"no such file or folder; a mod"):
    hyperclip_jax.load(tmp_path / "nowhere")
  with pytest.raises(FileNotFoundError, match=r"model\.json: no such file"):
    hyperclip_jax.load(tmp_path)
  (tmp_path / "config.json").write_text('{"model_type": "clip"}')
  with pytest.raises(ValueError, match=r"neither a training run.*model_type"):
    hyperclip_jax.load(tmp_path)
  (tmp_path / "config.json").write_text("{" * 100_000)
  with pytest.raises(ValueError, match="not JSON"):
    hyperclip_jax.load(tmp_path)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.update(system=["clip"]), "system must be a text"),
    (lambda c: c.update(system="__import__('os')"), "must be one"),
    (lambda c: c.update(model=7), "not a run's config"),
    (lambda c: c["model"].update(vision=None), "vision must be a section"),
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
    config_lib.read(tmp_path)
  assert str(path) in str(error.value)
  assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("name", ["clip", "hycoclip"])
def test_a_run_from_before_systems_is_read(name, tmp_path):
  config = small.config(name).to_dict()
  del config["system"], config["trust_system"]
  model = config["model"]
  own = ("entail_weight", "inter_aperture_scale", "intra_aperture_scale")
  config["objective"] = {
    "name": name,
    "args": {key: model.pop(key) for key in own if key in model},
    "contrast": model.pop("contrast"),
  }
  for key in ("pixel_mean", "pixel_std"):
    del model[key]
  config["data"] |= {"shards": "", "held_out": ""}
  (tmp_path / "config.json").write_text(json.dumps(config))
  wanted = small.config(name)
  assert config_lib.read(tmp_path).to_dict() == json.loads(wanted.to_json()) | {
    "data": config_lib.read(tmp_path).data.to_dict(),
    "model": config_lib.read(tmp_path).model.to_dict(),
  }
  assert config_lib.read(tmp_path).data.shards == wanted.data.shards
  assert config_lib.options(config_lib.read(tmp_path)) == config_lib.options(
    wanted
  )
  # As it was saved then: parameters beside the step, not among variables.
  task = build.task(wanted, sharding.make_mesh())
  state = jax.jit(build.init(wanted, task))()
  old = {"step": state.step, "params": state.params, "opt_state": ()}
  with Checkpoints(tmp_path) as checkpoints:
    checkpoints.save(_Old(**old), {})
  model = hyperclip_jax.load(tmp_path)
  jax.tree.map(np.testing.assert_array_equal, model.variables, state.variables)
  assert model.system == name
  run = runs.prepare(wanted, tmp_path)
  with (
    Checkpoints(tmp_path) as checkpoints,
    pytest.raises(OSError, match=r"before systems had names.*another --workd"),
  ):
    train.first_state(run, checkpoints)


@flax.struct.dataclass
class _Old:
  step: Any
  params: Any
  opt_state: Any


def test_batch_size_dtype_and_devices_are_chosen(folder, golden):
  some = jax.local_devices()[2:4]
  model = hyperclip_jax.load(
    folder, batch_size=4, dtype="bfloat16", devices=some
  )
  assert model.options.dtype == "bfloat16"
  assert model.devices == some
  assert jax.tree.leaves(model.variables)[0].devices() == {some[0]}
  assert model.fingerprint != golden.fingerprint
  with jax.numpy_dtype_promotion("standard"):
    found = model.encode_text(["a"] * 40)  # on both devices
  np.testing.assert_allclose(
    found, golden.encode_text(["a"] * 40), atol=2e-2, rtol=0
  )
  for same in (jax.numpy.bfloat16, jax.numpy.dtype("bfloat16")):
    assert hyperclip_jax.load(folder, dtype=same).options == model.options
  for wrong in ("int8", np.float64):
    with pytest.raises(ValueError, match="dtype must be one of float32, bfl"):
      hyperclip_jax.load(folder, dtype=wrong)
  with pytest.raises(ValueError, match="devices is empty"):
    hyperclip_jax.load(folder, devices=[])


def test_heads_are_of_official_files_alone(folder):
  with pytest.raises(ValueError, match=r"heads are only needed for a \.pth"):
    hyperclip_jax.load(folder, vision_heads=4)
  with pytest.raises(ValueError, match="text_heads is 0: give at least 1"):
    hyperclip_jax.load(folder, text_heads=0)


def test_weights_that_are_not_finite_are_refused(folder):
  def change(arrays):
    arrays["params.visual_proj.kernel"][3, 5] = np.nan

  edit_weights(folder, change)
  message = (
    r"safetensors: key params.visual_proj.kernel is NaN .* in 1 of 2,048"
  )
  with pytest.raises(ValueError, match=message):
    hyperclip_jax.load(folder)


def test_a_run_that_diverged_is_refused(tmp_path):
  def spoil(state):
    state.params["visual_proj"]["kernel"] *= np.inf

  saved_run(tmp_path, "clip", spoil)
  with pytest.raises(
    ValueError, match=r"step 0: key params.visual_proj.kernel is NaN"
  ):
    hyperclip_jax.load(tmp_path)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
@pytest.mark.parametrize(
  ("content", "message"),
  [
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    (b"<html>", "HTML page"),
    (b"", "empty"),
  ],
)
def test_a_file_of_a_release_that_never_came_is_named(
  name, content, message, folder
):
  (folder / name).write_bytes(content)
  with pytest.raises(ValueError, match=f"{name}: .*{message}"):
    hyperclip_jax.load(folder)


def test_truncated_weights_say_so(folder):
  weights = (folder / "model.safetensors").read_bytes()
  (folder / "model.safetensors").write_bytes(weights[:-1000])
  with pytest.raises(ValueError, match=r"safetensors: .*truncated.*download"):
    hyperclip_jax.load(folder)


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_pipe_in_a_release_is_not_waited_for(name, folder):
  (folder / name).unlink()
  os.mkfifo(folder / name)
  with pytest.raises(ValueError, match="not a regular file"):
    hyperclip_jax.load(folder)


def test_a_config_may_begin_with_a_byte_order_mark(folder):
  text = (folder / "model.json").read_bytes()
  (folder / "model.json").write_bytes(b"\xef\xbb\xbf" + text)
  assert hyperclip_jax.load(folder).system == "hycoclip"


def test_folders_near_a_model_lead_to_it(folder):
  step = folder / "checkpoints" / "3" / "state"
  step.mkdir(parents=True)
  for near in (step, step.parent, folder.parent):
    with pytest.raises(FileNotFoundError, match=rf"model: give {folder}$"):
      hyperclip_jax.load(near)


def test_keys_of_strangers_are_escaped_and_cut(folder):
  def change(arrays):
    arrays["\x1b[2J" + "x" * 1_000_000] = np.zeros(0, np.float32)

  edit_weights(folder, change)
  with pytest.raises(ValueError, match=r"unexpected \\x1b\[2Jxx") as error:
    hyperclip_jax.load(folder)
  assert len(str(error.value)) < 1000
  edit_config(folder, lambda c: c.update(system="\x1b" * 100_000))
  with pytest.raises(ValueError, match="system must be") as error:
    hyperclip_jax.load(folder)
  assert len(str(error.value)) < 2000
  assert "\x1b" not in str(error.value)


def test_a_tilde_is_the_home_folder(golden, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  golden.save_pretrained("~/a/model")
  assert (tmp_path / "a" / "model" / "model.json").exists()
  assert hyperclip_jax.load("~/a/model").system == "hycoclip"
  shutil.copy(golden_files.FOLDER / "clip_mini_init.pth", tmp_path / "b.pth")
  assert hyperclip_jax.load("~/b.pth", **HEADS).system == "clip"


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_mode_that_the_umask_says(golden, tmp_path, umask):
  before = os.umask(umask)
  try:
    golden.save_pretrained(tmp_path / "model")
    golden.index_texts(TEXTS).save(tmp_path / "new" / "words.index")
  finally:
    os.umask(before)
  made = [p for p in tmp_path.rglob("*") if p.is_file()]
  assert len(made) == 4
  assert {p.stat().st_mode & 0o777 for p in made} == {0o666 & ~umask}


def test_a_failed_write_is_an_os_error_and_leaves_the_old_file(
  golden, folder, tmp_path
):
  before = (folder / "model.safetensors").read_bytes()
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
  resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
  try:
    with pytest.raises(OSError, match=r"File too large.*model\.safetensors"):
      golden.save_pretrained(folder)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, previous)
  assert (folder / "model.safetensors").read_bytes() == before
  assert len([*folder.iterdir()]) == 3
  (tmp_path / "file").write_text("")
  with pytest.raises(OSError, match="file"):
    golden.save_pretrained(tmp_path / "file" / "model")


class FakeHub:
  """Repositories in a folder; a revision but "main" is a folder beside."""

  def __init__(self, folder):
    self.folder = folder

  def create_repo(self, name, private, exist_ok):
    if "/" not in name:
      raise KeyError("Repo id must be in the form 'namespace/repo_name'")
    self.made = (name, private, exist_ok)
    (self.folder / name).mkdir(parents=True, exist_ok=True)
    return f"https://hub.example/{name}"

  def upload_folder(
    self, repo_id, folder_path, commit_message, ignore_patterns
  ):
    shutil.copytree(
      folder_path,
      self.folder / repo_id,
      ignore=shutil.ignore_patterns(*(ignore_patterns or ())),
      dirs_exist_ok=True,
    )

  def _found(self, name, revision):
    found = self.folder / name
    if not found.exists():
      raise RepositoryNotFoundError("404 Client Error\n\nNot Found for url")
    if revision not in (None, "main"):
      found = self.folder / f"{name}@{revision.replace('/', '-')}"
    if not found.exists():
      raise KeyError(f"404 Client Error: Revision Not Found: {revision}")
    return found

  def snapshot_download(self, name, revision, allow_patterns):
    assert sorted(allow_patterns) == [
      "README.md",
      "config.json",
      "model.json",
      "model.safetensors",
      "tokenizer.json",
      "words.index",
    ]
    if name == "org/down":
      raise OSError("503 Server Error")
    return str(self._found(name, revision))

  def hf_hub_download(self, name, filename, revision):
    found = self._found(name, revision) / filename
    if not found.exists():
      raise KeyError(f"404 Client Error: Entry Not Found: {filename}")
    return str(found)

  def list_repo_files(self, name, revision):
    folder = self._found(name, revision)
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*"))


class RepositoryNotFoundError(Exception):
  """Named as the hub's own, by which it is known."""


@pytest.fixture
def hub(golden, tmp_path, monkeypatch):
  hub = FakeHub(tmp_path)
  monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
  golden.save_pretrained(tmp_path / "org" / "name")
  return hub


def test_hub(golden, hub):
  url = golden.push_to_hub("org/new", private=True)
  assert url == "https://hub.example/org/new"
  assert hub.made == ("org/new", True, True)
  card = hub.folder / "org" / "new" / "README.md"
  assert "license" not in card.read_text()
  card.write_text("mine")  # people edit it on the hub
  golden.push_to_hub("org/new", licence="mit")
  assert card.read_text() == "mine"
  again = hyperclip_jax.load("hf-hub:org/new")
  jax.tree.map(np.testing.assert_array_equal, again.variables, golden.variables)
  with pytest.raises(OSError, match="hf-hub:name: not uploaded") as error:
    golden.push_to_hub("name")
  assert "auth login" not in str(error.value)


def test_words_are_shared_with_the_model(golden, hub, tmp_path):
  words = golden.index_texts(["a red circle", "a thing"])
  golden.push_to_hub("org/worded", words=words)
  hyperclip_jax.load("hf-hub:org/worded")
  found = hyperclip_jax.Index.load(hub.folder / "org/worded/words.index")
  assert found.names == words.names
  with pytest.raises(ValueError, match="another model"):
    load_golden("clip").save_pretrained(tmp_path / "other", words=words)
  assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("revision", ["v1.0", "refs/pr/3"])
def test_a_revision_is_pinned(revision, golden, hub, tmp_path):
  other = load_golden("clip")
  other.save_pretrained(tmp_path / f"org/name@{revision.replace('/', '-')}")
  assert hyperclip_jax.load(f"hf-hub:org/name@{revision}").system == "clip"
  assert hyperclip_jax.load("hf-hub:org/name@main").system == "hycoclip"
  with pytest.raises(
    OSError, match=r"name@gone: not downloaded.*Revision Not F"
  ):
    hyperclip_jax.load("hf-hub:org/name@gone")


def test_an_official_file_on_the_hub(hub, tmp_path):
  folder = tmp_path / "org" / "official"
  (folder / "x").mkdir(parents=True)
  (folder / "README.md").write_text("")
  message = r"org/official: has no model\.safe"
  with pytest.raises(FileNotFoundError, match=message + r".*; it has README"):
    hyperclip_jax.load("hf-hub:org/official")
  source = golden_files.FOLDER / "meru_mini_init.pth"
  shutil.copy(source, folder / "x" / "meru.pth")
  with pytest.raises(FileNotFoundError, match=r"but x/meru\.pth: give hf"):
    hyperclip_jax.load("hf-hub:org/official@main")
  found = hyperclip_jax.load("hf-hub:org/official/x/meru.pth@main", **HEADS)
  assert found.system == "meru"
  with pytest.raises(OSError, match="Entry Not Found: other"):
    hyperclip_jax.load("hf-hub:org/official/other.pth")


def test_rights_are_named_where_they_may_be_missing(hub):
  with pytest.raises(
    OSError, match=r"none: not downloaded: 404 .*auth login"
  ) as e:
    hyperclip_jax.load("hf-hub:org/none")
  assert "\n" not in str(e.value)
  with pytest.raises(OSError, match="503 Server Error") as e:
    hyperclip_jax.load("hf-hub:org/down")
  assert "auth login" not in str(e.value)


@pytest.mark.parametrize(
  ("source", "wanted"),
  [
    ("org/name", ("org/name", None, None)),
    ("org/name@main", ("org/name", None, "main")),
    ("org/name@refs/pr/1", ("org/name", None, "refs/pr/1")),
    ("org/name/a/b.pth", ("org/name", "a/b.pth", None)),
    ("org/name/b.pth@v1", ("org/name", "b.pth", "v1")),
    ("org/name@v1/b.pth", ("org/name", "b.pth", "v1")),
    ("org/name@refs/pr/1/b.pth", ("org/name", "b.pth", "refs/pr/1")),
  ],
)
def test_addresses_of_the_hub(source, wanted):
  assert hub_lib.parse(f"hf-hub:{source}") == wanted


WORD = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True)


@given(st.tuples(WORD, WORD), st.lists(WORD, max_size=3), st.none() | WORD)
def test_any_address_is_what_it_was_made_of(name, folders, revision):
  repository = "/".join(name)
  file = "/".join([*folders, "model.pth"]) if folders else None
  source = hub_lib.PREFIX + "/".join([repository, *filter(None, [file])])
  if revision:
    source += f"@{revision}"
  assert hub_lib.parse(source) == (repository, file, revision)


@pytest.mark.parametrize(
  "source",
  ["", "name", "org/", "org/name@", "org/name/x", "org/name@a@b", "a/b.pth/c"],
)
def test_other_addresses_are_refused(source, hub):
  with pytest.raises(ValueError, match=r"want hf-hub:org/name, .*@revision"):
    hyperclip_jax.load(f"hf-hub:{source}")


def test_hub_without_its_extra(golden, monkeypatch):
  monkeypatch.setitem(sys.modules, "huggingface_hub", None)
  with pytest.raises(ImportError, match=r"hyperclip-jax\[hub\]"):
    hyperclip_jax.load("hf-hub:org/name")


def test_a_save_that_failed_leaves_the_former_release(
  folder, golden, monkeypatch
):
  other = dataclasses.replace(golden.options, pixel_mean=(0.1, 0.2, 0.3))
  model = hyperclip_jax.HyperCLIP(golden.system, other, golden.variables)
  true = release.write_whole

  def fails(path, *args):
    if path.suffix == suffix:
      raise OSError("no space left")
    true(path, *args)

  for suffix, module in ((".safetensors", tensors), (".json", release)):
    with monkeypatch.context() as patch:
      patch.setattr(module, "write_whole", fails)
      with pytest.raises(OSError, match="no space left"):
        model.save_pretrained(folder)
    if suffix == ".safetensors":
      assert hyperclip_jax.load(folder).options == golden.options
  # The weights are new, and their description is not.
  with pytest.raises(ValueError, match="are of different models, perhaps"):
    hyperclip_jax.load(folder)
  model.save_pretrained(folder)
  assert hyperclip_jax.load(folder).options == other


def test_variables_keep_their_dtypes(tmp_path):
  variables = {
    "params": {"kernel": np.ones((2, 3), jnp.bfloat16)},
    "stats": {"count": np.int32(7), "seen": np.array([True, False])},
  }
  shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, variables))
  options = systems.find("clip").Options()
  release.write(tmp_path, release.Release("clip", options, variables), shapes)
  found = release.read_weights(tmp_path, lambda: shapes)
  assert jax.tree.map(np.result_type, found) == jax.tree.map(
    np.result_type, variables
  )
  jax.tree.map(np.testing.assert_array_equal, found, variables)
