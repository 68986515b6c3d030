import io
import json
import os
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from hyperclip_jax.commands import door
from hyperclip_jax.data.embedded import photos
from hyperclip_jax.data.records import shards

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
  return photos.write(tmp_path_factory.mktemp("grit"))


@pytest.fixture(scope="module")
def members(shard):
  with tarfile.open(shard) as tar:
    return {
      info.name: (tar.extractfile(info) or io.BytesIO()).read() for info in tar
    }


def test_members_in_the_order_of_img2dataset(members):
  assert len(photos.PHOTOS) >= 6
  assert list(members) == [
    f"{photo.key}.{suffix}"
    for photo in photos.PHOTOS
    for suffix in ("jpg", "json", "txt")
  ]


@pytest.mark.parametrize("photo", photos.PHOTOS, ids=lambda photo: photo.key)
def test_record(members, photo):
  meta = json.loads(members[f"{photo.key}.json"])
  with Image.open(io.BytesIO(members[f"{photo.key}.jpg"])) as image:
    assert image.format == "JPEG"
    assert image.size == (meta["width"], meta["height"])
  assert meta["caption"] == photo.caption
  assert members[f"{photo.key}.txt"].decode() == photo.caption
  assert meta["key"] == photo.key
  assert 1 <= len(photo.parts) <= 4
  assert len({phrase for phrase, _ in photo.parts}) == len(photo.parts)
  for (phrase, pixels), row in zip(
    photo.parts, meta["noun_chunks"], strict=True
  ):
    start, end, *box, score = row
    assert meta["caption"][int(start) : int(end)] == phrase != photo.caption
    assert score == 1.0
    x1, y1, x2, y2 = pixels
    assert 0 <= x1 <= x2 - 32 < x2 <= meta["width"]
    assert 0 <= y1 <= y2 - 32 < y2 <= meta["height"]
    size = np.array([meta["width"], meta["height"]] * 2)
    np.testing.assert_allclose(np.array(box) * size, pixels, rtol=1e-12)


@pytest.mark.parametrize("photo", photos.PHOTOS, ids=lambda photo: photo.key)
def test_source_is_free(photo):
  assert "public domain" in photo.source or "CC0" in photo.source


def test_every_part_survives_the_reader(shard):
  source = shards.TarSource([str(shard)], min_side=32)
  assert len(source) == len(photos.PHOTOS)
  for index, photo in enumerate(photos.PHOTOS):
    found = source[index]
    assert found.caption == photo.caption
    assert [part.text for part in found.parts] == [p for p, _ in photo.parts]


def test_same_bytes_again(shard, tmp_path):
  again = photos.write(os.fspath(tmp_path))
  assert again == tmp_path / "photos" / "00000.tar"
  assert again.read_bytes() == shard.read_bytes()


def test_failure_leaves_the_old_shard(tmp_path, monkeypatch):
  old = photos.write(tmp_path)
  before = old.read_bytes()
  gone = (photos.PHOTOS[0], photos.PHOTOS[1]._replace(file="gone.png"))
  monkeypatch.setattr(photos, "PHOTOS", gone)
  with pytest.raises(FileNotFoundError, match="gone"):
    photos.write(tmp_path)
  assert old.read_bytes() == before
  assert list(old.parent.iterdir()) == [old]


def test_without_scikit_image(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "skimage.data", None)
  with pytest.raises(ModuleNotFoundError, match=r"pip install .*\[photos\]"):
    photos.write(tmp_path)
  assert not list(tmp_path.iterdir())


def test_command_line(tmp_path, capsys):
  assert door.run(["photos", "--output", str(tmp_path)]) == 0
  assert capsys.readouterr().out.strip() == str(tmp_path / "photos/00000.tar")
  with pytest.raises(SystemExit, match="did you mean --output"):
    door.run(["photos", "--out", str(tmp_path), "x"])
