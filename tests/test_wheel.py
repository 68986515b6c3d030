"""The wheel holds what the documented commands need."""

import email
import os
import pathlib
import subprocess
import sys
import zipfile

import pytest

from hyperclip_jax.training import config_tree
from tests.test_main import environment

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The files of the wheel, unpacked, made of a copy of the repository."""
  folder = tmp_path_factory.mktemp("wheel")
  source = folder / "source"
  source.mkdir()
  for name in ("hyperclip_jax", "configs", "launch", "README.md", "LICENSE"):
    (source / name).symlink_to(ROOT / name)
  for name in ("setup.py", "pyproject.toml", "MANIFEST.in"):
    (source / name).write_bytes((ROOT / name).read_bytes())
  code = (
    "from setuptools import build_meta\n"
    f"build_meta.build_wheel({str(folder)!r})"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=source, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr[-2000:]
  (path,) = folder.glob("*.whl")
  zipfile.ZipFile(path).extractall(folder / "site")
  return folder / "site"


def test_configs_types_and_metadata_are_there(wheel):
  configs = {path.name for path in (wheel / "hyperclip_jax/configs").iterdir()}
  assert configs == {path.name for path in (ROOT / "configs").glob("*.py")}
  assert (wheel / "hyperclip_jax/py.typed").exists()
  mini = wheel / "hyperclip_jax/checkpoints/assets/emoji-mini"
  assert (mini / "model.safetensors").exists()
  notices = {path.parent for path in ROOT.glob("hyperclip_jax/**/NOTICE")}
  for folder in notices:
    assert (wheel / folder.relative_to(ROOT) / "NOTICE").exists()
  (metadata,) = wheel.glob("*.dist-info/METADATA")
  found = email.message_from_string(metadata.read_text())
  assert found["Name"] == "hyperclip-jax"
  assert found["Author"]
  assert "Typing :: Typed" in found.get_all("Classifier")
  assert "OWNER" not in metadata.read_text()
  (entry,) = wheel.glob("*.dist-info/entry_points.txt")
  assert "hyperclip = hyperclip_jax.main:start" in entry.read_text()


def test_a_config_is_found_by_name_from_anywhere(wheel, tmp_path):
  done = subprocess.run(
    [
      *(sys.executable, "-m", "hyperclip_jax", "train"),
      *("--config=grit_vits:meru", "--help"),
    ],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": str(wheel)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  assert "\n  --config.system=meru\n" in done.stdout


# Hides what `pip install hyperclip-jax` alone would not bring.
ALONE = """
import importlib.metadata as metadata, re, runpy, sys
from packaging.requirements import Requirement

owners = metadata.packages_distributions()
plain = lambda name: re.sub(r"[-_.]+", "-", name).lower()
brought, todo = set(), [(line, ()) for line in metadata.requires(DIST)]
while todo:
  requirement, extras = Requirement(todo[-1][0]), todo.pop()[1]
  marker = requirement.marker
  if marker and not any(marker.evaluate({"extra": e}) for e in extras or [""]):
    continue
  name = plain(requirement.name)
  if (name, *sorted(requirement.extras)) in brought:
    continue
  brought.add((name, *sorted(requirement.extras)))
  extras = tuple(requirement.extras)
  todo += [(line, extras) for line in metadata.requires(name) or []]
names = {name for name, *_ in brought}


class Hidden:
  def find_spec(self, name, *_):
    known = owners.get(name.split(".")[0], [])
    if known and not any(plain(owner) in names for owner in known):
      if plain(known[0]) != "hyperclip-jax":
        raise ModuleNotFoundError(f"{name} is hidden", name=name)


sys.meta_path.insert(0, Hidden())
try:
  import pytest
  raise SystemExit("nothing is hidden")
except ModuleNotFoundError:
  pass
runpy.run_module("hyperclip_jax.main", run_name="__main__")
"""


@pytest.mark.slow
def test_the_main_job_needs_no_extra_and_no_checkout(wheel, tmp_path):
  code = ALONE.replace("DIST", repr("hyperclip-jax"))
  args = [
    *("--config=shapes_tiny", "--workdir=run", "--config.steps=2"),
    *("--config.shapes.train=256", "--config.shapes.val=64"),
    "--config.optim.warmup=1",
  ]
  done = subprocess.run(
    [sys.executable, "-c", code, *args],
    cwd=tmp_path,
    env=environment() | {"PYTHONPATH": str(wheel)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr[-3000:]
  assert (tmp_path / "run/report.html").exists()


def test_names_are_those_of_the_checkout_and_files_come_first(
  tmp_path, monkeypatch
):
  assert {"grit_vitb", "shapes_tiny"} <= {*config_tree.names()}
  assert config_tree.find("grit_vitb") == ROOT / "configs/grit_vitb.py"
  assert config_tree.find("configs/grit_vitb") is None
  assert config_tree.find("../configs/grit_vitb") is None
  monkeypatch.chdir(tmp_path)
  (tmp_path / "grit_vitb").write_text("")
  assert config_tree.find("grit_vitb") == pathlib.Path("grit_vitb")
  with pytest.raises(FileNotFoundError, match="did you mean grit_vitb\\?"):
    config_tree.load("grit_vtib")
