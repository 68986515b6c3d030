"""The data report says what is in the tars, counted here by other means."""

import json
import tarfile
from collections import Counter

import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.data.embedded import photos, shapes
from hyperclip_jax.data.prepare import manifest
from hyperclip_jax.reports import census, data
from tests.data import tars
from tests.reports.reader import Reader, assert_self_contained

MIN_SIDE = 12
EVIL = "<script>alert(1)</script> \"q\" & 'so' {on}"


@pytest.fixture
def report(tmp_path):
  """Writes tars from lists of members and reads the report on them back."""

  def report(*shards, **options):
    for i, members in enumerate(shards):
      tars.write_tar(tmp_path / f"{i:05d}.tar", members)
    path = tmp_path / "report.html"
    data.write_report(f"{tmp_path}/*.tar", path, **options)
    page = path.read_text(encoding="utf-8")
    assert_self_contained(page)
    return Reader(page)

  return report


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
  """Shapes: the glob of their tars and the JSON of all records."""
  folder = tmp_path_factory.mktemp("shapes") / "data"
  shapes.generate(folder, train=60, val=1, objects=1, shard_size=25)
  metas = []
  for path in sorted((folder / "train").glob("*.tar")):
    with tarfile.open(path) as tar:
      metas += [
        json.loads(tar.extractfile(member).read())  # type: ignore
        for member in tar
        if member.name.endswith(".json")
      ]
  return f"{folder}/train/*.tar", metas


def parts_of(meta):
  """Phrases whose first large enough box counts, as README says."""
  found = {}
  for start, end, x1, y1, x2, y2, _ in meta["noun_chunks"] + meta["ref_exps"]:
    width, height = (x2 - x1) * meta["width"], (y2 - y1) * meta["height"]
    if min(width, height) >= MIN_SIDE:
      phrase = meta["caption"][int(start) : int(end)]
      found.setdefault(phrase, (width, height))
  return found


def test_shapes_are_counted_as_by_hand(scenes, tmp_path):
  glob, metas = scenes
  path = tmp_path / "report.html"
  counted = data.write_report(glob, path, min_side=MIN_SIDE)
  parts = [parts_of(meta) for meta in metas]
  phrases = Counter(phrase for found in parts for phrase in found)
  reader = Reader(path.read_text())
  table = reader.table
  assert table["Records in the shards"] == ["60"]
  assert table["Records sampled"] == ["60"]
  assert table["Bad records"] == ["0"]
  assert table["Records without parts"] == [str(parts.count({}))]
  assert table["Parts"] == [str(phrases.total())]
  assert table["Distinct phrases"] == [str(len(phrases))]
  assert counted.parts == Counter(len(found) for found in parts)
  assert counted.phrases == phrases
  assert counted.image_widths == counted.image_heights == {64: 60}
  sides = [side for found in parts for side in found.values()]
  assert counted.box_widths == Counter(round(w) for w, _ in sides)
  assert counted.box_heights == Counter(round(h) for _, h in sides)
  assert counted.box_areas == Counter(
    int(100 * w * h / 64**2 + 1e-6) for w, h in sides
  )
  best, times = min(phrases.items(), key=lambda p: (-p[1], p[0]))
  assert best in reader.texts
  assert f" {times} ({times / phrases.total():.2%})" in reader.texts


def test_photos_are_counted_as_by_hand(tmp_path):
  shard = photos.write(tmp_path)
  path = tmp_path / "report.html"
  counted = data.write_report(str(shard), path, min_side=1)
  reader = Reader(path.read_text())
  phrases = [text for photo in photos.PHOTOS for text, _ in photo.parts]
  assert reader.table["Parts"] == [str(len(phrases))]
  assert counted.phrases == Counter(text.lower() for text in phrases)
  sides = [box[2] - box[0] for photo in photos.PHOTOS for _, box in photo.parts]
  assert counted.box_widths == Counter(sides)
  for photo in photos.PHOTOS:  # All are on the contact sheet.
    assert photo.caption in reader.texts
    assert photo.key in reader.texts
  assert len([1 for name, _ in reader.elements if name == "i"]) == len(phrases)


def test_lengths_count_the_start_and_the_end(report):
  # Each of these words is one token; "!" is token 0, the one that pads.
  lengths = [1, 6, 7, 75, 76, 3000]
  members = []
  for i, words in enumerate(lengths):
    members += tars.processed_members(
      f"{i}", caption="dog " * words, parents=("a !✓",)
    )
  reader = report(members)
  assert reader.table["8 tokens"] == ["33.3%", "100.0%"]
  assert reader.table["77 tokens"] == ["66.7%", "100.0%"]
  cut = [text for text in reader.texts if "longer than 77 tokens" in text]
  assert "33.33% are longer" in cut[0]
  assert "largest 1,024 or more" in cut[0]
  assert "Median 5, mean 5, " in cut[1]  # start, a, ! in !✓, ✓, end


def test_captions_cannot_become_markup(report):
  rows = [[0.0, 25.0, 0.1, 0.1, 0.9, 0.9, 0.9]]
  reader = report(
    tars.raw_members(EVIL.replace("/", ""), caption=EVIL, noun_chunks=rows)
    + tars.raw_members("b", caption="", url=EVIL)
  )
  assert "script" not in {name for name, _ in reader.elements}
  assert EVIL in reader.texts
  assert EVIL[:25] in reader.texts
  assert EVIL.replace("/", "") in reader.texts


def test_bad_records_are_counted_and_named(report):
  broken, cut = tars.raw_members("broken"), tars.raw_members("cut", seed=1)
  broken[0] = (broken[0][0], b"no image")
  cut[0] = (cut[0][0], cut[0][1][:-300])
  crop = tars.processed_members("crop")
  crop[3] = (crop[3][0], b"\xff\xd8\xff no image")
  reader = report(
    [
      *tars.raw_members("good"),
      *broken,
      *cut,
      *tars.raw_members("empty", caption=" "),
    ],
    [*tars.processed_members("fine"), *crop],
  )
  assert reader.table["Bad records"] == ["4"]
  assert reader.table["Good records"] == ["2"]
  assert reader.table["broken image"] == ["3"]
  assert reader.table["malformed texts"] == ["1"]
  for key in ("broken", "cut", "crop", "empty"):
    assert sum(f"record '{key}'" in text for text in reader.texts) == 1
  assert "good" in reader.texts  # on the sheet
  assert "broken" not in reader.texts


def test_without_a_good_record_the_page_says_so(report):
  reader = report(tars.raw_members("a", caption=None))
  assert reader.table["Bad records"] == ["1"]
  assert "There is no good record to show." in reader.texts


def test_only_so_many_bad_records_are_named(report):
  members = []
  for i in range(census.NAMED + 5):
    members += tars.raw_members(f"{i}", caption=None)
  reader = report(members)
  assert reader.table["malformed texts"] == [str(census.NAMED + 5)]
  assert sum("caption: found None" in t for t in reader.texts) == census.NAMED


def test_a_bad_tar_is_left_out_and_named(report, tmp_path):
  (tmp_path / "00009.tar").write_bytes(b"no tar" * 1000)
  reader = report(tars.raw_members("good"))
  assert reader.table["tar left out whole"] == ["1"]
  assert any("00009.tar: not a tar" in text for text in reader.texts)
  assert reader.table["Good records"] == ["1"]


def test_parts_with_pictures_of_their_own_are_no_boxes(report):
  reader = report(
    tars.processed_members("a", parents=("a ball", "red")),
    tars.prepared_members("b", parts=("a ball",)),
  )
  assert reader.table["Parts"] == ["3"]
  assert reader.table["Distinct phrases"] == ["2"]
  assert any(
    text.startswith("2 parts are stored as crops") for text in reader.texts
  )
  areas = next(text for text in reader.texts if text.endswith(" percent."))
  assert "largest 50" in areas  # the box of the prepared record


def test_only_pictures_of_their_own_leave_the_box_plots_out(report):
  reader = report(tars.processed_members("a"))
  assert "Phrase lengths" in reader.texts
  assert "Box areas" not in reader.texts


def test_the_manifest_beside_the_shards_is_shown(report, tmp_path):
  results = [
    manifest.ShardResult(
      i, {"path": "a"}, 1200, 2500, 9, "", {"no box": 7}, {EVIL: i}
    )
    for i in range(3)
  ]
  manifest.save(str(tmp_path), manifest.Options(long_side=384), results)
  reader = report(tars.prepared_members("0000000000"))
  assert reader.table["Records"] == ["3,600"]
  assert reader.table["No box"] == ["21"]
  assert reader.table[EVIL.capitalize()] == ["3"]
  assert '"long_side": 384' in reader.text


@pytest.mark.parametrize(
  "content",
  [
    "{",
    "[" * 100_000,
    "3",
    '{"generator": "shapes"}',
    '{"format": "hyperclip-prepared", "totals": {"a": [], "b": null}}',
    '{"format": "hyperclip-prepared"}',
  ],
)
def test_any_other_manifest_does_no_harm(report, tmp_path, content):
  (tmp_path / "manifest.json").write_text(content)
  reader = report(tars.raw_members("good"))
  assert reader.table["Good records"] == ["1"]
  assert "Preparation" in reader.texts


def test_a_sample_is_a_function_of_its_seed(scenes, tmp_path):
  glob, _ = scenes

  def page(seed):
    path = tmp_path / "report.html"
    counted = data.write_report(glob, path, limit=10, seed=seed)
    assert counted.sampled == 10
    assert counted.total == 60
    return path.read_bytes()

  assert page(0) == page(0)
  assert page(0) != page(1)


def test_samples_are_distinct_and_need_no_list_of_everything():
  assert sorted(census.sample(5, 100, seed=0)) == [0, 1, 2, 3, 4]
  assert len(set(census.sample(10**15, 1000, seed=0))) == 1000


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--limit", "0"], "--limit: want a whole number from 1 on"),
    (["--min_side", "-1"], "--min_side: want a whole number from 0 on"),
    (["--shards", "nowhere/*.tar"], "no file matches 'nowhere/*.tar'"),
    (["--output", "nowhere/report.html"], "nowhere/report.html: No such file"),
    (["--output", "/dev/full/report.html"], "Not a directory"),
    (["--output", "."], "is a folder"),
  ],
)
def test_bad_flags_end_before_any_work(flags, words, monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  tars.write_tar(tmp_path / "a.tar", tars.raw_members("a"))
  flags = ["--shards", "a.tar", "--output", "report.html", *flags]
  monkeypatch.setattr(data, "TarSource", lambda *_: pytest.fail("it began"))
  with pytest.raises(SystemExit) as stop:
    door.run(["report", *flags])
  assert str(stop.value.code).startswith("error: ")
  assert words in str(stop.value.code)
  assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_the_command_writes_the_page(monkeypatch, tmp_path, capsys):
  shards = [
    tars.write_tar(tmp_path / f"{i}.tar", tars.raw_members(f"{i}"))
    for i in range(2)
  ]
  path = tmp_path / "report.html"
  flags = ["--shards", *shards, "--output", str(path), "--limit", "1"]
  assert door.run(["report", *flags]) == 0
  assert "1 good records, 0 bad" in capsys.readouterr().out
  assert Reader(path.read_text()).table["Records in the shards"] == ["2"]


def test_boxes_of_hardly_any_width_are_counted():
  counted = census.Census(1)
  sliver = (0.0, 0.0, 5e-324, 1.0)
  counted.add(census.Measures((64, 4096), 3, ["a"], [3], [sliver]))
  assert counted.box_widths == {0: 1}
  assert counted.box_heights == {4096: 1}
