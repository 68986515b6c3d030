"""README's "Use a trained model" is run as it is printed."""

import pathlib
import re
import shlex

import pytest
from PIL import Image

from hyperclip_jax.commands import door
from tests.inference.test_model import pictures

ROOT = pathlib.Path(__file__).parents[1]


def blocks(section, language):
  """The fenced blocks of a section."""
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
  return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_use_a_trained_model(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("tests").symlink_to(ROOT / "tests")
  for name, array in zip(("picture", "other"), pictures(2), strict=True):
    Image.fromarray(array).save(f"{name}.jpg")
  python, geometry = blocks("Use a trained model", "python")
  exec(python, {})
  exec(geometry, {})
  printed = capsys.readouterr().out.splitlines()
  assert len(printed) >= 3  # two hits, and a walk that ends at the root
  assert printed[-1].startswith("root")

  (shell,) = blocks("Use a trained model", "sh")
  for line in shell.replace("\\\n", " ").splitlines():
    program, *args = shlex.split(line)
    assert program == "hyperclip"
    assert door.run(args) == 0
    assert capsys.readouterr().out
  assert pathlib.Path("pictures.index").exists()
