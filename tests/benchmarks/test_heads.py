"""The comparison of heads, in small, and that it resumes."""

import json

import pytest

from benchmarks import heads

pytest.importorskip("sklearn")


@pytest.mark.usefixtures("standard_promotion")
def test_heads_are_trained_measured_and_not_trained_again(
  tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(heads, "HEADS", ("flat",))
  command = [
    f"--output={tmp_path}",
    *("--data", "digits", "--dims", "2", "--tail_dims", "2"),
    *("--seeds", "0", "1", "--steps", "2"),
  ]
  heads.main(command)
  runs = json.loads((tmp_path / "heads.json").read_text())["runs"]
  assert len(runs) == 8  # with and without separation, balanced and long tail
  assert all(0 <= run["top1"] <= 1 for run in runs.values())
  page = (tmp_path / "heads.md").read_text()
  assert "## digits, long tail" in page
  assert page.count("| 2 | flat + separation |") == 2
  monkeypatch.setattr(heads, "trainer", lambda *_: pytest.fail)
  capsys.readouterr()
  heads.main(command)
  assert capsys.readouterr().out.strip() == page.strip()
