"""The validation of a GPU, rehearsed on the CPU."""

import json
import os

import pytest

from benchmarks.gpu import __main__ as kit
from benchmarks.gpu import blocks, table
from benchmarks.gpu.blocks import Block
from benchmarks.step import library_calls
from tests import programs


@pytest.mark.slow
def test_every_block_runs(tmp_path, capfd, monkeypatch):
  # As a user has it: one device, and promotion as JAX does it by default.
  for name in [name for name in os.environ if "JAX_NUMPY" in name]:
    monkeypatch.delenv(name)
  kernels = f"--{programs.KERNELS}=false" if programs.TWO_WAYS else ""
  monkeypatch.setenv("XLA_FLAGS", kernels)  # the quicker ones
  code = kit.main(["--rehearse", "--minutes=30", f"--output={tmp_path}"])
  log = (tmp_path / "log.txt").read_text()
  assert code == 0, log
  results = json.loads((tmp_path / "results.json").read_text())
  found = {row["name"]: row["results"] for row in results["blocks"]}
  assert [*found] == ["right", "step S", "fed", "sure", "tests"]
  assert all(check["ok"] for check in found["right"]["checks"])
  assert max(check["error"] for check in found["right"]["checks"]) > 0
  (step,) = found["step S"]
  ours, theirs = (step["ways"][way]["first_loss"] for way in ("scan", "torch"))
  assert ours == pytest.approx(theirs, rel=1e-5)
  assert found["fed"]["training"]["fed / resident"] > 0
  assert found["sure"]["twice"] == found["sure"]["resumed"] == ""
  shown = (tmp_path / "results.md").read_text()
  assert shown in capfd.readouterr().out
  assert "resumed: the same, bit for bit" in shown
  assert {path.name for path in tmp_path.iterdir()} == {
    "results.json",
    "results.md",
    "log.txt",
  }


def test_a_block_ends_at_its_limit_and_keeps_what_it_wrote(tmp_path):
  (tmp_path / "slow.py").write_text(
    "import pathlib, sys, time\n"
    "pathlib.Path(sys.argv[-1]).write_text('[1]')\n"
    "time.sleep(60)\n"
  )
  env = {"PYTHONPATH": str(tmp_path)}
  row = kit.run(Block("slow", 60, "slow", []), 2, tmp_path, env)
  assert (row["outcome"], row["results"]) == ("stopped after 2 s", [1])
  assert row["seconds"] < 30
  row = kit.run(Block("none", 60, "no_such_module", []), 20, tmp_path, env)
  assert (row["outcome"], row["results"]) == ("failed, exit code 1", None)


def test_what_does_not_fit_a_card_is_not_tried():
  large, small = (
    {block.name: block for block in blocks.plan(gibibytes, False)}
    for gibibytes in (139, 80)
  )
  assert large.keys() == small.keys()
  unroll = "unroll:model.unroll=True"
  assert unroll in large["step L"].flags
  assert unroll not in small["step L"].flags
  for block in (*large.values(), *small.values()):
    assert block.seconds <= 180


def test_wrong_results_make_the_exit_code():
  right = {"name": "right", "outcome": "done"}
  good, bad = {"checks": [{"ok": True}]}, {"checks": [{"ok": False}]}
  assert kit._good(right | {"results": good})
  assert not kit._good(right | {"results": bad})
  sure = {"name": "sure", "outcome": "done"}
  assert kit._good(sure | {"results": {"twice": "", "resumed": ""}})
  assert not kit._good(sure | {"results": {"twice": "", "resumed": "loss"}})
  assert not kit._good(sure | {"results": {"twice": ""}})
  assert not kit._good({"name": "fed", "outcome": "failed", "results": None})


def test_wrong_checks_are_named():
  check = {"name": "a", "error": 1.0, "limit": 0.1, "worst": "b", "ok": False}
  found = {"precision": "highest", "checks": [check]}
  row = {"name": "right", "outcome": "done", "seconds": 1.0, "results": found}
  results = {"card": "", "date": "", "versions": {}, "blocks": [row]}
  assert "| a | 1.0e+00 | 1e-01 | WRONG: b |" in table.markdown(results)


def test_library_calls():
  program = """
    %a = f32[] custom-call(), custom_call_target="__cublas$lt$matmul"
    %b = f32[] custom-call(), custom_call_target="__cublas$lt$matmul"
    %c = f32[] fusion(), backend_config={"kind":"__triton_gemm"}
  """
  wanted = {"__cublas$lt$matmul": 2, "__triton_gemm": 1}
  assert library_calls(program) == wanted
