import json

import pytest

from hyperclip_jax.data.prepare import inputs, manifest
from hyperclip_jax.data.prepare.manifest import Options, ShardResult
from tests.data.tars import prepared_members, raw_members, write_tar

INDEX = ".index-0a1b2c3d"  # what an index is written to

RESULT = ShardResult(
  0,
  {"path": "raw/7.tar", "bytes": 10},
  records=2,
  parts=3,
  bytes=5,
  sha256="ab",
  rejected_records={"bad image": 1},
)


def finish(folder, result=RESULT):
  (folder / "00000.tar").write_bytes(b"12345")
  manifest.save_result(str(folder), Options(), result)


def finished(folder, source=RESULT.source, **options):
  sources = [source] if source else []
  return manifest.finished(str(folder), Options(**options), sources)


def test_file_takes_its_name_at_the_end_or_never(tmp_path):
  path = tmp_path / "a"
  path.write_bytes(b"old")
  with manifest.replacing(str(path)) as file:
    file.write(b"new")
    file.flush()
    assert path.read_bytes() == b"old"
  assert path.read_bytes() == b"new"
  with pytest.raises(ZeroDivisionError), manifest.replacing(str(path)) as file:
    file.write(b"%d" % (1 / len(b"")))
  assert path.read_bytes() == b"new"
  assert list(tmp_path.iterdir()) == [path]


def test_a_finished_shard_comes_back_as_it_was(tmp_path):
  finish(tmp_path)
  assert finished(tmp_path) == [RESULT]
  moved = {"path": "/mnt/other/7.tar", "bytes": 10}
  assert finished(tmp_path, moved) == [RESULT]


def test_a_shard_without_its_tar_is_not_finished(tmp_path):
  finish(tmp_path)
  (tmp_path / "00000.tar").write_bytes(b"1234")
  assert finished(tmp_path) == []
  (tmp_path / "00000.tar").unlink()
  assert finished(tmp_path) == []


def test_other_options_or_inputs_are_errors_that_say_which(tmp_path):
  finish(tmp_path)
  match = r"00000\.json was made with --min_side=32 \(now 9\), --crops=False"
  with pytest.raises(ValueError, match=match):
    finished(tmp_path, min_side=9, crops=True)
  for source in ({"path": "8.tar", "bytes": 10}, {"path": "7.tar", "bytes": 9}):
    match = f"7.tar of 10 bytes, which is now {source['path']} of "
    with pytest.raises(ValueError, match=match):
      finished(tmp_path, source)
  with pytest.raises(ValueError, match="which is now no input"):
    finished(tmp_path, None)


@pytest.mark.parametrize(
  "change",
  [
    lambda content: [],
    lambda content: content | {"version": 0},
    lambda content: {k: v for k, v in content.items() if k != "shard"},
    lambda content: content | {"shard": {"number": 0}},
    lambda content: content | {"shard": content["shard"] | {"number": "0"}},
    lambda content: content | {"shard": content["shard"] | {"more": 1}},
  ],
)
def test_a_json_that_is_not_ours_is_named(tmp_path, change):
  finish(tmp_path)
  path = tmp_path / "00000.json"
  path.write_text(json.dumps(change(json.loads(path.read_text()))))
  with pytest.raises(ValueError, match=r"00000\.json: not the JSON of a prep"):
    finished(tmp_path)


def test_leftovers_are_cleared_and_nothing_else(tmp_path):
  names = ["00000.tar.0a1b2c3d.tmp", "manifest.json.0a1b2c3d.tmp", INDEX]
  keep = ["00000.tar", "00000.json", "00000.tar.index", "manifest.json"]
  keep += ["mine.tmp", ".index-notes.md", "00001.weights.ab12.tmp", ".index-ab"]
  for name in [*names, *keep]:
    (tmp_path / name).touch()
  manifest.clear(str(tmp_path))
  assert sorted(p.name for p in tmp_path.iterdir()) == sorted(keep)


def test_only_a_prepared_folder_is_filled(tmp_path):
  write_tar(tmp_path / "00000.tar", prepared_members("a"))  # killed just here
  write_tar(tmp_path / "00001.tar", [])
  manifest.check(str(tmp_path))
  write_tar(tmp_path / "00002.tar", raw_members("a"))
  with pytest.raises(ValueError, match=r"holds 00002\.tar, which is not part"):
    manifest.check(str(tmp_path))
  (tmp_path / "00002.tar").unlink()
  (tmp_path / "thesis.tex").touch()
  with pytest.raises(ValueError, match=r"holds thesis\.tex, which is not part"):
    manifest.check(str(tmp_path))


def test_names_of_others_are_shown_without_harm(tmp_path):
  (tmp_path / "\x1b[2Jx").touch()
  with pytest.raises(ValueError, match=r"holds \\x1b\[2Jx, which is not part"):
    manifest.check(str(tmp_path))
  (tmp_path / "\x1b[2Jx").unlink()
  harm = {"path": "\x1b[2J.tar", "bytes": "\x1b[2J" * 1000}
  finish(tmp_path, ShardResult(0, harm))
  with pytest.raises(ValueError, match="which is now") as caught:
    finished(tmp_path)
  assert str(caught.value).isprintable()
  assert len(str(caught.value)) < 1000


def test_leftovers_may_be_in_a_prepared_folder(tmp_path):
  for name in ("00000.tar.0a1b2c3d.tmp", "00000.json.0a1b2c3d.tmp", INDEX):
    (tmp_path / name).touch()
  manifest.check(str(tmp_path))


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("min_side", 0),
    ("long_side", 31),
    ("quality", 0),
    ("quality", 101),
    ("shard_size", 0),
    ("shard_size", 100_001),
    ("boxes", "inches"),
    ("box_format", "cxcywh"),
  ],
)
def test_options_out_of_range_are_named(name, value):
  with pytest.raises(ValueError, match=f"--{name}={value}: want"):
    manifest.validate(Options(**{name: value}))
  manifest.validate(Options())


def test_totals_are_sums():
  results = [RESULT, RESULT, ShardResult(2, {}, skipped="cut")]
  assert manifest.totals(results) == {
    "shards": 2,
    "skipped": 1,
    "records": 4,
    "parts": 6,
    "bytes": 10,
    "rejected_records": {"bad image": 2},
    "rejected_boxes": {},
  }


def test_an_input_of_other_content_is_another(tmp_path):
  path = write_tar(tmp_path / "7.tar", raw_members("a", 1))
  source = inputs.describe(inputs.Tar(path))
  other = tmp_path / "other/7.tar"
  other.parent.mkdir()
  write_tar(other, raw_members("a", 1))
  out = tmp_path / "out"
  out.mkdir()
  finish(out, ShardResult(0, source, bytes=5))
  assert finished(out, inputs.describe(inputs.Tar(str(other))))
  write_tar(other, raw_members("b", 1))
  changed = inputs.describe(inputs.Tar(str(other)))
  assert changed["bytes"] == source["bytes"]
  with pytest.raises(ValueError, match=r"which is now 7\.tar of"):
    finished(out, changed)


def test_shards_of_earlier_releases_are_taken(tmp_path):
  path = write_tar(tmp_path / "7.tar", [])
  source = inputs.describe(inputs.Tar(path))
  older = {name: source[name] for name in ("path", "bytes")}
  out = tmp_path / "out"
  out.mkdir()
  finish(out, ShardResult(0, older, bytes=5))
  content = json.loads((out / "00000.json").read_text())
  for name in ("boxes", "box_format", "upright"):
    del content["options"][name]
  (out / "00000.json").write_text(json.dumps(content))
  assert len(finished(out, source)) == 1


def test_describe_is_what_finished_compares(tmp_path):
  path = write_tar(tmp_path / "7.tar", [])
  source = inputs.describe(inputs.Tar(path))
  out = tmp_path / "out"
  out.mkdir()
  finish(out, ShardResult(0, source, bytes=5))
  assert len(finished(out, source)) == 1
