"""classify, search and traverse as commands."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from absl.testing import flagsaver
from PIL import Image

from hyperclip_jax import main, pretrained
from tests import golden_files
from tests.test_hyperclip import pictures

ROOT = pathlib.Path(__file__).parents[1]
MODEL = (
  f"--model={golden_files.FOLDER / 'hycoclip_mini_init.pth'}",
  "--vision_heads=4",
  "--text_heads=2",
)


@pytest.fixture(scope="module")
def loaded():
  path = golden_files.FOLDER / "hycoclip_mini_init.pth"
  return pretrained.load(path, vision_heads=4, text_heads=2)


@pytest.fixture
def command(loaded, monkeypatch, capsys):
  """command(*flags) -> stdout; the model is loaded once."""

  def load(source, vision_heads, text_heads):
    if f"--model={source}" != MODEL[0]:
      return real(source, vision_heads, text_heads)
    assert (vision_heads, text_heads) == (4, 2)
    return loaded

  def run(*args):
    argv = ["main", *map(str, args)]
    with flagsaver.flagsaver():
      main.main(main.parse_flags(argv))
    return capsys.readouterr().out

  real = pretrained.load
  monkeypatch.setattr(pretrained, "load", load)
  return run


@pytest.fixture
def images(tmp_path):
  for i, array in enumerate(pictures(3)):
    Image.fromarray(array).save(tmp_path / f"{i}.png")
  return tmp_path / "*.png"


def test_classify(command, loaded, images, tmp_path):
  (tmp_path / "labels.txt").write_text("cat\ndog, wet\n\nred circle\n")
  args = (
    "--mode=classify", *MODEL, f"--images={images}",
    f"--labels=@{tmp_path / 'labels.txt'},thing", "--templates={}", "--top=2",
  )  # fmt: skip
  rows = json.loads(command(*args, "--json"))
  labels = ["cat", "dog, wet", "red circle", "thing"]
  wanted = loaded.classify(pictures(3), labels, ["{}"]).top(2)
  assert [row["image"] for row in rows] == [
    str(tmp_path / f"{i}.png") for i in range(3)
  ]
  for row, best in zip(rows, wanted, strict=True):
    assert [answer["label"] for answer in row["found"]] == [b[0] for b in best]
    np.testing.assert_allclose(
      [answer["probability"] for answer in row["found"]],
      [b[1] for b in best],
      rtol=1e-4,
    )
  lines = command(*args).splitlines()
  assert lines[0] == rows[0]["image"]
  first = rows[0]["found"][0]
  assert lines[1] == f"  {first['probability']:8.4f}  {first['label']}"
  assert len(lines) == 9


def test_search_makes_an_index_and_reads_it(command, images, tmp_path):
  index = tmp_path / "a.index"
  args = ("--mode=search", *MODEL, f"--index={index}", "--top=1", "--json")
  query = f"--query_images={tmp_path / '1.png'}"
  made = command(*args, f"--images={images}", query)
  (row,) = json.loads(made)
  assert row["found"][0]["name"] == str(tmp_path / "1.png")
  assert row["found"][0]["row"] == 1
  assert command(*args, query) == made
  rows = json.loads(command(*args, "--query=a cat,a dog"))
  assert [row["query"] for row in rows] == ["a cat", "a dog"]


def test_traverse(command, images, tmp_path):
  args = ("--mode=traverse", *MODEL, f"--images={tmp_path / '0.png'}")
  (row,) = json.loads(command(*args, "--texts=a cat,a dog", "--json"))
  assert row["to"] == "root"
  assert row["found"][0]["t"] == 1.0
  assert {point["name"] for point in row["found"]} <= {"a cat", "a dog", "root"}
  (row,) = json.loads(
    command(*args, f"--to={tmp_path / '1.png'}", "--texts=a cat", "--json")
  )
  assert row["found"] == [{"name": "a cat", "t": 1.0}]


@pytest.mark.parametrize(
  ("args", "message"),
  [
    (["--mode=classify", "--labels=a"], "give --images"),
    (["--mode=classify", "--images=no.png", "--labels=a"], "no file matches"),
    (["--mode=classify", "--images=IMAGE"], "give --labels"),
    (
      ["--mode=classify", "--images=IMAGE", "--labels=@IMAGE.txt"],
      "No such fi",
    ),
    (
      ["--mode=classify", "--images=IMAGE", "--labels=a", "--templates=b"],
      "template 'b' must hold",
    ),
    (
      ["--mode=classify", "--images=TEXT", "--labels=a"],
      "text.png: cannot dec",
    ),
    (["--mode=search", "--texts=a"], "one of --query and --query_images"),
    (["--mode=search", "--query=a"], "or --images), or --index"),
    (["--mode=search", "--query=a", "--index=no.index"], "no.index"),
    (["--mode=search", "--query=a", "--index=TEXT"], "not a safetensors file"),
    (["--mode=search", "--query=a", "--index=TEXT", "--texts=a"], "exists: d"),
    (["--mode=search", "--query=a", "--texts=a", "--images=IMAGE"], "one of"),
    (
      ["--mode=traverse", "--images=IMAGE", "--texts=a", "--to=no.png"],
      "no.pn",
    ),
    (
      ["--mode=search", "--query=a", "--texts=a", "--model=no"],
      "no: no such f",
    ),
    (["--mode=search", "--query=a", "--texts=a", "--model="], "give --model"),
  ],
)
def test_bad_input_is_one_message(args, message, command, images, tmp_path):
  (tmp_path / "text.png").write_text("this is no picture")
  image, text = str(tmp_path / "0.png"), str(tmp_path / "text.png")
  args = [a.replace("IMAGE", image).replace("TEXT", text) for a in args]
  with pytest.raises(SystemExit) as exit_info:
    command(*MODEL, *args)
  assert str(exit_info.value).startswith("error: ")
  assert message in str(exit_info.value)


def process(*args):
  return subprocess.run(
    [sys.executable, "-m", "hyperclip_jax.main", *args],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.slow
def test_a_process_answers_or_ends_with_one_message(images):
  done = process(
    "--mode=classify", *MODEL, f"--images={images}", "--labels=cat,dog",
    "--json",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert len(json.loads(done.stdout)) == 3
  done = process("--mode=classify", "--model=no", f"--images={images}")
  assert done.returncode == 1
  assert done.stderr.strip() == (
    "error: give --labels, joined by commas or as @FILE"
  )
