"""The figures of uncertainty and inclusion."""

from typing import Any

from hyperclip_jax.reports import uncertainty

RESULTS = {
  "uncertainty/text": 0.04,
  "uncertainty/text_se": 0.01,
  "uncertainty/image": 0.01,
  "uncertainty/depth_0": 0.2,
  "uncertainty/depth_10": 0.1,
  "uncertainty/depth_2": 0.15,
  "uncertainty/depth_images": 0.02,
  "uncertainty/words_corr": -0.4,
  "includes/text_image": 0.9,
  "includes/parent_child": 0.7,
  "includes/depth_0_image": 0.95,
}


def labels(figure):
  return [text.get_text() for text in figure.axes[0].get_yticklabels()]


def test_bars_go_by_depth():
  figure = uncertainty.depths(RESULTS)
  named = ["depth 0", "depth 2", "depth 10", "objects", "texts", "images"]
  assert labels(figure) == named
  bars: Any = figure.axes[0].patches
  widths = [bar.get_width() for bar in bars]
  assert widths == [0.2, 0.15, 0.1, 0.02, 0.04, 0.01]


def test_points_are_shares_of_pairs():
  figure = uncertainty.inclusions(RESULTS)
  assert labels(figure) == [
    "caption > its image",
    "concept > its children",
    "depth 0 > its images",
  ]


def test_a_model_without_uncertainty_has_no_section():
  assert uncertainty.section({"retrieval/i2t_r1": 0.5}) == []
  assert len(uncertainty.section(RESULTS)) == 2
