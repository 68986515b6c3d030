"""How to use a model, in README and docs/use.md, is run as it is printed."""

import pathlib
import re
import shlex

import pytest

from hyperclip_jax.commands import door

ROOT = pathlib.Path(__file__).parents[1]


def blocks(section, language):
  """The fenced blocks of a section."""
  text = (ROOT / "README.md").read_text(encoding="utf-8")
  text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
  return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def parts(line):
  """The numbers of a line, and what is around them."""
  number = r"-?\d+\.\d+|-?\d+\."
  return [float(x) for x in re.findall(number, line)], re.split(number, line)


def compare(printed, wanted):
  """Compares what was printed, numbers to the second digit."""
  for line, want in zip(printed.splitlines(), wanted.splitlines(), strict=True):
    assert parts(line)[0] == pytest.approx(parts(want)[0], abs=0.011)
    assert [x.split() for x in parts(line)[1]] == [
      x.split() for x in parts(want)[1]
    ]


@pytest.mark.slow
def test_the_tutorial(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  text = (ROOT / "docs/use.md").read_text(encoding="utf-8")
  block = r"```(python|sh)\n(.*?)```(?:\n\n```text\n(.*?)```)?"
  found = re.findall(block, text, re.DOTALL)
  assert {language for language, _, _ in found} == {"python", "sh"}
  names = {}
  for language, code, wanted in found:
    if language == "python":
      exec(code, names)
      compare(capsys.readouterr().out, wanted)
      continue
    for line in code.replace("\\\n", " ").splitlines():
      assert door.run(shlex.split(line)[1:]) == 0
      assert capsys.readouterr().out
  assert pathlib.Path("rows.npz").exists()


@pytest.mark.slow
def test_use_a_trained_model(tmp_path, monkeypatch, capsys):
  monkeypatch.chdir(tmp_path)
  python, geometry = blocks("Use a trained model", "python")
  (wanted,) = blocks("Use a trained model", "text")
  exec(python, {})
  printed = capsys.readouterr().out
  compare(printed, wanted)
  exec(geometry, {})

  (shell,) = blocks("Use a trained model", "sh")
  for line in shell.replace("\\\n", " ").splitlines():
    program, *args = shlex.split(line)
    assert program == "hyperclip"
    assert door.run(args) == 0
    assert capsys.readouterr().out
  assert pathlib.Path("pictures.index").exists()
  assert pathlib.Path("pictures.npz").exists()
