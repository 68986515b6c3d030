"""classify, search and traverse as commands."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.commands import door
from hyperclip_jax.inference import inputs, pretrained
from tests import golden_files
from tests.inference.test_model import pictures

ROOT = pathlib.Path(__file__).parents[2]
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

  def load(source, vision_heads, text_heads, *others):
    if f"--model={source}" != MODEL[0]:
      return real(source, vision_heads, text_heads, *others)
    assert (vision_heads, text_heads) == (4, 2)
    return loaded

  def run(*args):
    assert door.run([*map(str, args)]) == 0
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
    "classify", *MODEL, f"--images={images}",
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
  args = ("search", *MODEL, f"--index={index}", "--top=1", "--json")
  query = f"--query_images={tmp_path / '1.png'}"
  made = command(*args, f"--images={images}", query)
  (row,) = json.loads(made)
  assert row["found"][0]["name"] == str(tmp_path / "1.png")
  assert row["found"][0]["row"] == 1
  assert command(*args, query) == made
  rows = json.loads(command(*args, "--query=a cat,a dog"))
  assert [row["query"] for row in rows] == ["a cat", "a dog"]


def test_traverse(command, images, tmp_path):
  args = ("traverse", *MODEL, f"--images={tmp_path / '0.png'}")
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
    (["classify", "--labels=a"], "give --images"),
    (["classify", "--images=no.png", "--labels=a"], "no file matches"),
    (["classify", "--images=IMAGE"], "give --labels"),
    (
      ["classify", "--images=IMAGE", "--labels=@IMAGE.txt"],
      "No such fi",
    ),
    (
      ["classify", "--images=IMAGE", "--labels=a", "--templates=b"],
      "template 'b' must contain",
    ),
    (
      ["classify", "--images=TEXT", "--labels=a"],
      "text.png: cannot dec",
    ),
    (["search", "--texts=a"], "one of --query and --query_images"),
    (["search", "--query=a"], "or --images), or --index"),
    (["search", "--query=a", "--index=no.index"], "no.index"),
    (["search", "--query=a", "--index=TEXT"], "not a safetensors file"),
    (["search", "--query=a", "--index=TEXT", "--texts=a"], "exists: d"),
    (["search", "--query=a", "--texts=a", "--images=IMAGE"], "one of"),
    (
      ["traverse", "--images=IMAGE", "--texts=a", "--to=no.png"],
      "no.pn",
    ),
    (
      ["search", "--query=a", "--texts=a", "--model=no"],
      "no: no such f",
    ),
    (["search", "--query=a", "--texts=a", "--model="], "give --model"),
    (
      [
        "classify",
        "--images=IMAGE",
        "--labels=a",
        "--templates=a {}, a pet.",
      ],
      "must contain {} once, and no other brace; commas separate values",
    ),
    (["classify", "--images=x,y.png", "--labels=a"], "commas separate"),
    (
      ["classify", "--images=IMAGE", '--labels="a" b,c'],
      "double quotes",
    ),
    (["classify", "--images=FOLDER", "--labels=a"], "want 'FOLDER/*'"),
    (
      ["classify", "--images=IMAGE", "--labels=@LATIN"],
      "latin.txt: not UTF-8",
    ),
    (
      ["search", "--query=a", "--texts=b", "--index=IMAGE/x.index"],
      "0.png",
    ),
    (["search", "--query=a", "--to=root"], "--to is a flag of traverse"),
    (["classify", "--steps=3"], "--steps is a flag of traverse"),
    (["classify", "--workdir=a"], "a flag of train, eval, verify"),
    (["classify", "--config.seed=1"], "--config.seed=1 changes nothing"),
    (["classify", "a.png"], "stray arguments: a.png"),
    (["classify", "--top=0"], "--top: want a whole number from 1 on"),
  ],
)
def test_bad_input_is_one_message(args, message, command, images, tmp_path):
  (tmp_path / "text.png").write_text("this is no picture")
  image, text = str(tmp_path / "0.png"), str(tmp_path / "text.png")
  (tmp_path / "latin.txt").write_bytes(b"d\xe9j\xe0\n")
  names = {
    "IMAGE": image,
    "TEXT": text,
    "FOLDER": str(tmp_path),
    "LATIN": str(tmp_path / "latin.txt"),
  }
  for name, path in names.items():
    args = [a.replace(name, path) for a in args]
    message = message.replace(name, path)
  with pytest.raises(SystemExit) as exit_info:
    command(args[0], *MODEL, *args[1:])
  assert str(exit_info.value).startswith("error: ")
  assert message in str(exit_info.value)


@pytest.fixture
def image(tmp_path):
  path = tmp_path / "a.png"
  Image.fromarray(pictures(1)[0]).save(path)
  return path


def labels_of(command, image, *flags):
  """The labels that classify saw."""
  args = ("classify", *MODEL, f"--images={image}", "--top=9", "--json")
  (row,) = json.loads(command(*args, *flags))
  return {answer["label"] for answer in row["found"]}


@pytest.mark.parametrize(
  ("flags", "labels"),
  [
    (["--labels=cat,dog"], {"cat", "dog"}),
    (['--labels="a dog, sitting",a cat'], {"a dog, sitting", "a cat"}),
    (['--labels="a dog, sitting"', "--labels=a cat"],
     {"a dog, sitting", "a cat"}),
    (['--labels= "a ""big"", dog", 5" disk,'], {'a "big", dog', '5" disk'}),
    (['--labels=cat', '--templates="a photo of a {}, a type of pet."'],
     {"cat"}),
  ],
)  # fmt: skip
def test_quotes_keep_commas(flags, labels, command, image):
  assert labels_of(command, image, *flags) == labels


def test_a_text_that_may_have_been_torn_apart_is_announced(
  loaded, image, monkeypatch, capsys
):
  monkeypatch.setattr(pretrained, "load", lambda *_: loaded)
  args = ["classify", *MODEL, f"--images={image}"]
  assert door.run([*args, "--labels=a dog, sitting,a cat"]) == 0
  errors = capsys.readouterr().err
  assert "--labels: 3 values, a dog | sitting | a cat; commas" in errors


@pytest.mark.parametrize(
  ("data", "labels"),
  [
    (b"\xef\xbb\xbfred\r\ngreen\n", {"red", "green"}),
    (
      "red\u2028ish\ngreen\x0b\x85s".encode(),
      {"red\u2028ish", "green\x0b\x85s"},
    ),
    (b'a "dog", wet\n\n @home \n', {'a "dog", wet', "@home"}),
  ],
)
def test_lists_in_files(data, labels, command, image, tmp_path, monkeypatch):
  (tmp_path / "labels.txt").write_bytes(data)
  monkeypatch.setenv("HOME", str(tmp_path))
  assert labels_of(command, image, "--labels=@~/labels.txt") == labels


def test_names_that_are_no_utf8_or_hold_escapes(command, image, tmp_path):
  names = [
    os.fsencode(tmp_path) + b"/caf\xe9.png",
    os.fsencode(tmp_path) + b"/\x1b[2J\xe2\x80\xae.png",
  ]
  for name in names:
    with open(name, "wb") as file:
      file.write(image.read_bytes())
  image.unlink()
  index = tmp_path / "new/folder/a.index"
  args = ("search", *MODEL, f"--index={index}", "--query=a\x9b, b")
  text = command(*args, f"--images={tmp_path}/*.png")
  assert "caf\\udce9.png" in text
  assert "\\x1b[2J\\u202e.png" in text
  assert not {"\x1b", "\x9b", "\u202e"} & {*text}
  raw = command(*args, "--json")
  assert raw.isascii()
  found = {os.fsencode(hit["name"]) for hit in json.loads(raw)[0]["found"]}
  assert found == {*names}


def test_json_keeps_what_can_be_read(command, image):
  raw = command(
    "classify", *MODEL, f"--images={image}", "--labels=猫,é", "--json"
  )
  assert '"猫"' in raw


def test_home_folders(command, image, tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.chdir("/")
  args = ("search", *MODEL, "--index=~/x/a.index", "--json")
  made = json.loads(
    command(*args, "--query_images=~/a.png", "--images=~/*.png")
  )
  assert made[0]["query"] == made[0]["found"][0]["name"] == str(image)
  assert (tmp_path / "x/a.index").exists()
  (row,) = json.loads(
    command(
      "traverse", *MODEL, "--images=~/a.png", "--to=~/a.png",
      "--index=~/x/a.index", "--json",
    )
  )  # fmt: skip
  assert row["to"] == str(image)


def test_bad_images_are_left_out_and_named(
  loaded, images, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(pretrained, "load", lambda *_: loaded)
  (tmp_path / "bad,1.png").write_bytes(b"")
  (tmp_path / "bad2.png").write_bytes(b"<html>")
  args = ["search", *MODEL, f"--query_images={images}", "--json"]
  index = f"--index={tmp_path / 'a.index'}"
  assert door.run([*args, f"--images={images}", index]) == 0
  found = capsys.readouterr()
  rows = json.loads(found.out)
  assert [row["query"][-5:] for row in rows] == ["0.png", "1.png", "2.png"]
  assert len(rows[0]["found"]) == 3
  assert "left out 4 images:" in found.err  # Twice the two.
  assert "bad,1.png: cannot decode 0 bytes" in found.err
  assert "bad2.png: cannot decode" in found.err
  assert door.run([*args, index, "--strict"]) == 1
  assert len(json.loads(capsys.readouterr().out)) == 3
  query = f"--query_images={tmp_path / 'bad,1.png'}"
  with pytest.raises(SystemExit) as exit_info:
    door.run(["search", *MODEL, query, index])
  assert "no image is good: " in str(exit_info.value.code)


@pytest.mark.parametrize(
  "args",
  [
    ["classify", "--labels=a,b"],
    ["search", "--query=a"],
    ["traverse", "--texts=a,b"],
  ],
)
def test_each_picture_is_decoded_once(args, command, images, monkeypatch):
  decoded = []
  decode = inputs.decode_file

  def counted(path):
    decoded.append(str(path))
    return decode(path)

  monkeypatch.setattr(inputs, "decode_file", counted)
  rows = json.loads(command(*args, *MODEL, f"--images={images}", "--json"))
  assert rows
  folder = images.parent
  assert sorted(decoded) == [str(folder / f"{i}.png") for i in range(3)]


def process(*args):
  return subprocess.run(
    [sys.executable, "-m", "hyperclip_jax", *args],
    cwd=ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=300,
  )


@pytest.mark.slow
def test_a_process_answers_or_ends_with_one_message(images):
  done = process(
    "classify", *MODEL, f"--images={images}", "--labels=cat,dog",
    "--json",
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  assert len(json.loads(done.stdout)) == 3
  done = process("classify", "--model=no", f"--images={images}")
  assert done.returncode == 1
  assert done.stderr.strip() == (
    "error: give --labels=LIST: names of the classes"
  )
