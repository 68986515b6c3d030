"""Embeddings of many inputs in one file, also after a kill."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax import HyperCLIP
from hyperclip_jax.commands import door, lists
from hyperclip_jax.inference import bulk, pretrained
from tests import golden_files
from tests.inference.test_model import pictures


@pytest.fixture(scope="module")
def model():
  return HyperCLIP(*golden_files.model("hycoclip"), batch_size=8)


@pytest.fixture
def command(model, monkeypatch, tmp_path, capsys):
  """command(*flags) -> exit code and stdout, with parts of four rows."""
  monkeypatch.setattr(pretrained, "load", lambda *args: model)
  monkeypatch.setattr(bulk, "PART", 4)

  def run(*args):
    code = door.run(["encode", "--model=any", *map(str, args)])
    return code, capsys.readouterr()

  return run


@pytest.fixture
def images(tmp_path):
  """Ten images: in a folder, in a folder below and in a tar."""
  arrays = pictures(10)
  (tmp_path / "in" / "sub").mkdir(parents=True)
  for i, array in enumerate(arrays[:6]):
    folder = tmp_path / "in" / ("sub" if i >= 4 else "")
    Image.fromarray(array).save(folder / f"{i}.png")
  (tmp_path / "in" / "notes.txt").write_text("no image")
  with tarfile.open(tmp_path / "a.tar", "w") as tar:
    for i, array in enumerate(arrays[6:], 6):
      buffer = io.BytesIO()
      Image.fromarray(array).save(buffer, "PNG")
      member = tarfile.TarInfo(f"x/{i}.png")
      member.size = buffer.tell()
      buffer.seek(0)
      tar.addfile(member, buffer)
      caption = tarfile.TarInfo(f"x/{i}.txt")
      tar.addfile(caption)
  return tmp_path / "in", tmp_path / "a.tar", arrays


def test_folders_and_tars_are_embedded(model, command, images, tmp_path):
  folder, tar, arrays = images
  output = tmp_path / "x.npz"
  code, said = command(f"--images={folder},{tar}", f"--output={output}")
  assert code == 0
  assert said.out.startswith(f"{output}: 10 x 32, Lorentz(")
  with np.load(output, allow_pickle=False) as file:
    found = dict(file)
  names = [f"{folder}/{i}.png" for i in range(4)]
  names += [f"{folder}/sub/{i}.png" for i in (4, 5)]
  assert found["names"].tolist() == names + [
    f"{tar}/x/{i}.png" for i in range(6, 10)
  ]
  np.testing.assert_allclose(
    found["embeddings"], model.encode_image(arrays), atol=1e-6
  )
  info = json.loads(str(found["info"]))
  assert info["model"] == model.fingerprint
  assert info["space"]["name"] == "lorentz"
  assert not (tmp_path / "x.npz.parts").exists()


def test_a_killed_command_goes_on_and_gives_the_same_bytes(
  model, command, images, tmp_path, monkeypatch
):
  folder, tar, _ = images
  flags = (f"--images={folder},{tar}",)
  assert command(*flags, f"--output={tmp_path / 'whole.npz'}")[0] == 0
  encode, seen = HyperCLIP.encode_named, []

  def dies(self, names, images):
    if len(seen) == 2:
      raise KeyboardInterrupt
    seen.append(len(names))
    return encode(self, names, images)

  monkeypatch.setattr(HyperCLIP, "encode_named", dies)
  output = tmp_path / "cut.npz"
  with pytest.raises(KeyboardInterrupt):
    command(*flags, f"--output={output}")
  assert not output.exists()
  with pytest.raises(SystemExit, match="another model or other inputs"):
    command(f"--images={tar}", f"--output={output}")

  seen.clear()
  assert command(*flags, f"--output={output}")[0] == 0
  assert seen == [2]  # of ten, eight were kept
  assert output.read_bytes() == (tmp_path / "whole.npz").read_bytes()
  with pytest.raises(SystemExit, match=r"cut\.npz exists: remove it"):
    command(*flags, f"--output={output}")


def test_pictures_of_a_list_are_embedded(model, command, images, tmp_path):
  folder, _, arrays = images
  (tmp_path / "list.txt").write_text(f"{folder}/1.png\n{folder}/sub/4.png\n")
  flags = (
    f"--images=@{tmp_path / 'list.txt'}",
    f"--output={tmp_path / 'x.npy'}",
  )
  assert command(*flags)[0] == 0
  np.testing.assert_allclose(
    np.load(tmp_path / "x.npy"),
    model.encode_image([arrays[1], arrays[4]]),
    atol=1e-6,
  )


def test_texts_in_every_form(model, command, tmp_path):
  (tmp_path / "t.txt").write_text("a red circle\na dog, wet\n\na thing\n")
  wanted = model.encode_text(["a red circle", "a dog, wet", "a thing", "x"])
  flags = (f"--texts=@{tmp_path / 't.txt'},x",)
  for form in bulk.FORMS:
    assert command(*flags, f"--output={tmp_path}/o{form}")[0] == 0
  rows = np.load(tmp_path / "o.npy")
  np.testing.assert_array_equal(rows, wanted)
  beside = json.loads((tmp_path / "o.npy.json").read_text())
  assert beside["names"] == ["a red circle", "a dog, wet", "a thing", "x"]
  import pyarrow.parquet

  table = pyarrow.parquet.read_table(tmp_path / "o.parquet")
  assert table["name"].to_pylist() == beside["names"]
  flat = table["embedding"].combine_chunks().flatten().to_numpy()
  np.testing.assert_array_equal(flat.reshape(-1, 32), wanted)
  info = json.loads(table.schema.metadata[b"hyperclip_jax"])
  assert info["model"] == model.fingerprint


def test_what_cannot_be_read_is_left_out_and_named(command, images, tmp_path):
  folder, _, _ = images
  (folder / "2.png").write_bytes(b"no image")
  flags = (f"--images={folder}", f"--output={tmp_path / 'x.npz'}")
  code, said = command(*flags, "--strict")
  assert code == 1
  assert "left out 1 images:" in said.err
  assert "2.png: cannot decode 8 bytes" in said.err
  with np.load(tmp_path / "x.npz") as file:
    assert len(file["embeddings"]) == len(file["names"]) == 5
    assert [*json.loads(str(file["info"]))["left_out"]] == [f"{folder}/2.png"]


@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (["--texts=a", "--output=x.csv"], r"x\.csv: want a name that ends in \."),
    (["--output=x.npz"], "one of --images and --texts"),
    (["--texts=a", "--images=b", "--output=x.npz"], "one of --images and"),
    (["--images=none", "--output=x.npz"], "no file matches"),
    (["--images=empty", "--output=x.npz"], "no image in empty"),
    (["--images=bad.tar", "--output=x.npz"], "bad.tar: not a tar"),
  ],
)
def test_mistakes_are_told_before_any_work(
  command, tmp_path, monkeypatch, flags, message
):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "empty").mkdir()
  (tmp_path / "bad.tar").write_bytes(b"no tar" * 1000)
  with pytest.raises(SystemExit, match=message):
    command(*flags)
  assert not (tmp_path / "x.npz.parts").exists()


def test_an_image_in_a_tar_is_named(tmp_path):
  with tarfile.open(tmp_path / "a.tar", "w") as tar:
    member = tarfile.TarInfo("1.JPG")
    tar.addfile(member)
  found = lists.pictures("images", [str(tmp_path / "a.tar")])
  assert [*found] == [f"{tmp_path}/a.tar/1.jpg"]
