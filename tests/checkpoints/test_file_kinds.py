"""What is no model says what it is, and no PyTorch is asked."""

import gzip
import io
import os
import pathlib
import pickle
import sys
import tarfile
import tempfile
import warnings
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import hyperclip_jax
from hyperclip_jax.checkpoints import file_kinds, tensors
from hyperclip_jax.geometry.spaces import Sphere
from tests import golden_files

GOLDEN = golden_files.FOLDER / "clip_mini_init.pth"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9\n"


def jpeg():
  out = io.BytesIO()
  Image.new("RGB", (4, 4)).save(out, "JPEG")
  return out.getvalue()


def old_torch():
  out = io.BytesIO()
  content = {"model": {"a": torch.zeros(1)}}
  torch.save(content, out, _use_new_zipfile_serialization=False)
  return out.getvalue()


def script():
  out = io.BytesIO()
  with warnings.catch_warnings():  # PyTorch will drop the format
    warnings.simplefilter("ignore")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), out)
  return out.getvalue()


def tar():
  out = io.BytesIO()
  with tarfile.open(fileobj=out, mode="w") as file:
    file.addfile(tarfile.TarInfo("a"))
  return out.getvalue()


KINDS = {
  "Git LFS pointer.*git lfs pull": LFS,
  "HTML page": b"\xef\xbb\xbf\n<!DOCTYPE HTML><html>404</html>",
  "empty: download": b"",
  "truncated": GOLDEN.read_bytes()[:100_000],
  r"before 1\.6": old_torch(),
  "an image": jpeg(),
  "tar archive": tar(),
  r"TorchScript.*torch\.jit\.load\(FILE\)\.state_dict\(\)": script(),
  "gunzip": gzip.compress(b"x", mtime=0),
  "pickle.*nothing in it was run": pickle.dumps({}),
  "JSON.*give its folder": b'{"format": "hyperclip-jax"}',
  "neither": b"A,B\n1,2\n",
}


@pytest.mark.parametrize("wanted", KINDS)
def test_what_is_no_checkpoint_is_named_without_torch(
  wanted, tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, "torch", None)  # not installed
  path = tmp_path / "file"
  path.write_bytes(KINDS[wanted])
  with pytest.raises(ValueError, match=rf"file: .*{wanted}"):
    hyperclip_jax.load(path)


def test_safetensors_and_an_index_are_told_apart(tmp_path):
  x = np.zeros((2, 3), np.float32)
  tensors.write(tmp_path / "a", {"x": x}, {"format": "hyperclip-jax"})
  with pytest.raises(ValueError, match=r"safetensors.*give the folder"):
    hyperclip_jax.load(tmp_path / "a")
  hyperclip_jax.Index(x, ["a", "b"], Sphere()).save(tmp_path / "b")
  with pytest.raises(ValueError, match=r"b: an index.*Index\.load"):
    hyperclip_jax.load(tmp_path / "b")


STARTS = [b"", file_kinds.ZIP, LFS[:20], b"{", *KINDS.values()]


def test_a_broken_archive_is_left_to_pytorch(tmp_path):
  data = bytearray(KINDS["truncated"] + b"PK\x05\x06" + bytes(18))
  (tmp_path / "file").write_bytes(data)
  assert file_kinds.mistaken(tmp_path / "file") is None
  with pytest.raises(ValueError, match="not a PyTorch checkpoint"):
    hyperclip_jax.load(tmp_path / "file")


@given(st.sampled_from(STARTS), st.binary(max_size=600))
def test_any_bytes_but_an_archive_are_named(start, rest):
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "file"
    path.write_bytes(start + rest)
    assert file_kinds.mistaken(path) or zipfile.is_zipfile(path)


def test_a_checkpoint_is_nothing_else():
  assert file_kinds.mistaken(GOLDEN) is None
  assert file_kinds.absent(GOLDEN) is None


def test_a_pipe_is_not_waited_for(tmp_path):
  os.mkfifo(tmp_path / "pipe")
  for look in (file_kinds.absent, file_kinds.mistaken):
    with pytest.raises(ValueError, match="pipe: not a regular file"):
      look(tmp_path / "pipe")
  with pytest.raises(FileNotFoundError):
    file_kinds.absent(pathlib.Path("nowhere"))
