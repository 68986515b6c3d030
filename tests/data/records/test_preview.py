import pytest

from hyperclip_jax.data.records import preview
from hyperclip_jax.data.records.shards import TarSource
from tests.data.tars import jpeg, raw_members, write_tar

PLACES = [(0.1, 0.2, 0.5, 0.6), (0.3, 0.1, 0.9, 0.8), (0.5, 0.5, 0.9, 0.9)]


def source(path, count=20, scale=(1, 1, 1, 1), captions_only=False):
  """Raw records of one box each, in fractions times a scale."""
  members = []
  for i in range(count):
    box = [a * b for a, b in zip(PLACES[i % 3], scale, strict=True)]
    rows = [] if captions_only else [[0, 10, *box, 0.9]]
    members += raw_members(
      f"{i:03d}", noun_chunks=rows, ref_exps=[], width=320, height=240
    )
  return TarSource([write_tar(path, members)], 8)


def test_good_records_pass(tmp_path):
  seen = preview.look([source(tmp_path / "0.tar")])
  assert (seen.records, seen.parts, seen.with_parts) == (20, 20, 20)
  assert preview.summary(seen) == (
    "1.00 parts per image: 20 of 20 records checked have one; left out: nothing"
  )
  preview.check([source(tmp_path / "0.tar")])


@pytest.mark.parametrize(
  ("scale", "unit"),
  [
    ((320, 240, 320, 240), "pixels"),
    ((100,) * 4, "percent"),
    ((1000,) * 4, "thousandths"),
  ],
)
def test_boxes_of_another_unit_are_refused(tmp_path, scale, unit):
  with pytest.raises(ValueError, match=f"prepare --boxes={unit} --box_"):
    preview.check([source(tmp_path / "0.tar", scale=scale)])


def test_captions_alone_are_refused(tmp_path):
  with pytest.raises(
    ValueError,
    match=r"trains on parts: .* .hyperclip ground. .* train clip or meru",
  ):
    preview.check([source(tmp_path / "0.tar", captions_only=True)])
  pairs = [
    member
    for i in range(20)
    for member in ((f"{i}.jpg", jpeg()), (f"{i}.txt", b"a cat"))
  ]
  with pytest.raises(ValueError, match="0 of 20 records checked have one"):
    preview.check([TarSource([write_tar(tmp_path / "1.tar", pairs)])])


def test_captions_beside_boxes_are_taken(tmp_path):
  boxes = source(tmp_path / "0.tar")
  captions = source(tmp_path / "1.tar", captions_only=True)
  preview.check([captions, boxes])


def test_few_parts_are_said(tmp_path, caplog):
  members = []
  for i in range(50):
    rows = [[0, 10, 0, 0, 1, 1, 1]] if i == 7 else []
    members += raw_members(f"{i}", noun_chunks=rows, ref_exps=[])
  preview.check([TarSource([write_tar(tmp_path / "0.tar", members)])])
  assert "1 of 50 records checked have one" in caplog.text


def test_a_few_records_say_nothing(tmp_path):
  few = source(tmp_path / "0.tar", preview.LEAST - 1, captions_only=True)
  preview.check([few])


def test_bad_records_are_passed_over(tmp_path):
  members = [("a.jpg", b""), ("a.json", b"{"), *raw_members("b")]
  bad = TarSource([write_tar(tmp_path / "0.tar", members)])
  assert preview.look([bad]).records == 1


def test_the_reader_warns_of_records_without_a_part(tmp_path, caplog):
  pixels = source(tmp_path / "0.tar", scale=(320, 240, 320, 240))
  for i in range(20):
    assert pixels[i].parts == ()
  assert caplog.text.count("none of 20 records with boxes has a part") == 1
  assert "1 box outside" in caplog.text
