"""What the benchmark of grounding prints of its runs."""

from benchmarks import grounding


def test_runs_are_compared_by_measure():
  def run(top1, r1):
    return {
      "eval/zero_shot/top1": top1,
      "eval/zero_shot/top1_se": 0.01,
      "eval/retrieval/i2t_r1": r1,
      "train/loss": 3.0,
    }

  runs = {"true": [run(0.6, 0.2), run(0.7, 0.2)], "grounded": [run(0.5, 0.1)]}
  assert grounding.compare(runs) == [
    "retrieval/i2t_r1: true 0.200 ± 0.000, grounded 0.100 ± nan",
    "zero_shot/top1: true 0.650 ± 0.071, grounded 0.500 ± nan",
  ]
