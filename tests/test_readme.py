"""README's "Use a trained model" is run as it is printed."""

import pathlib
import re
import shlex

import pytest

from hyperclip_jax.commands import door
from tests.evals import saved

ROOT = pathlib.Path(__file__).parents[1]


def blocks(section, language):
  """The fenced blocks of a section."""
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
  return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.mark.slow
def test_use_a_trained_model(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  pathlib.Path("runs").mkdir()
  saved.model(tmp_path / "runs" / "shapes")
  python, geometry = blocks("Use a trained model", "python")
  (wanted,) = blocks("Use a trained model", "text")
  exec(python, {})
  exec(geometry, {})
  printed = capsys.readouterr().out.splitlines()
  assert printed[0].startswith("HyCoCLIP: ")
  assert printed[-1].endswith(" root")
  # Of another model, but of the same form.
  heads = [re.sub(r"[\d.-]+.*", "", line) for line in printed[:4]]
  assert heads == [re.sub(r"[\d.-]+.*", "", x) for x in wanted.splitlines()[:4]]

  (shell,) = blocks("Use a trained model", "sh")
  for line in shell.replace("\\\n", " ").splitlines():
    program, *args = shlex.split(line)
    assert program == "hyperclip"
    assert door.run(args) == 0
    assert capsys.readouterr().out
  assert pathlib.Path("pictures.index").exists()
  assert pathlib.Path("pictures.npz").exists()
