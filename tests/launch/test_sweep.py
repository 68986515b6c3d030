"""Sweeps: what is swept, and what its folders are called."""

import itertools
import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch import sweep

names = st.from_regex(
  r"[a-z_][a-z0-9_]{0,8}(\.[a-z_]{1,8}){0,2}", fullmatch=True
)
names = names.filter(lambda name: not name.startswith("config."))
plain = st.text(min_size=1).filter(lambda text: not set(text) & set(",()[]{}"))
values = st.lists(plain, min_size=1, max_size=4, unique=True)
axes = st.dictionaries(names, values, max_size=3)


def specs(axes):
  return [f"{name}={','.join(values)}" for name, values in axes.items()]


@given(axes)
def test_all_combinations_in_order_with_names_that_differ(axes):
  points = sweep.grid(specs(axes))
  want = list(itertools.product(*axes.values()))
  assert [tuple(dict(p.values).values()) for p in points] == want
  assert all(tuple(dict(p.values)) == tuple(axes) for p in points)
  assert len({point.name for point in points}) == len(want)


@given(axes)
def test_a_name_is_one_plain_folder(axes):
  for point in sweep.grid(specs(axes)):
    if axes:
      assert pathlib.PurePosixPath("a", point.name).parent.name == "a"
      assert point.name.isascii()
      assert not set(point.name) & set(" /\\'\"$`*?;&|<>\n\0,%")
      assert point.name[0] not in ".-"


def test_nothing_is_swept():
  assert sweep.grid([]) == [sweep.Point("", ())]


def test_names_can_be_read():
  points = sweep.grid(["optim.learning_rate=1e-4,5e-4", "seed=0,1"])
  assert [point.name for point in points] == [
    "learning_rate=1e-4_seed=0",
    "learning_rate=1e-4_seed=1",
    "learning_rate=5e-4_seed=0",
    "learning_rate=5e-4_seed=1",
  ]


def test_leaves_of_one_name_are_told_in_full():
  (point,) = sweep.grid(["model.vision.width=8", "model.text.width=16"])
  assert point.name == "model.vision.width=8_model.text.width=16"


def test_commas_in_brackets_part_nothing():
  name, found = sweep.parse("data.text_buckets=(16,32),(8,[1,2],32),x")
  assert name == "data.text_buckets"
  assert found == ["(16,32)", "(8,[1,2],32)", "x"]


def test_values_that_look_alike_as_folders_do_not_share_one():
  first, second = sweep.grid(["data.shards=a/*.tar,a/?.tar"])
  assert first.name.startswith("shards=a-.tar-")
  assert first.name != second.name


@pytest.mark.parametrize(
  ("specs", "message"),
  [
    (["seed"], "not NAME=VALUE"),
    (["=1"], "not NAME=VALUE"),
    (["config.seed=1"], "without config"),
    (["a b=1"], "not NAME=VALUE"),
    (["seed="], "empty value"),
    (["seed=1,,2"], "empty value"),
    (["seed=1,2,1"], "a value twice"),
    (["seed=1", "seed=2"], "swept twice"),
  ],
)
def test_bad_sweeps(specs, message):
  with pytest.raises(ValueError, match=message):
    sweep.grid(specs)


def test_names_of_many_values_fit_a_file_system():
  specs = [f"optim.a_rather_long_name_{i}=1e-4,5e-4" for i in range(9)]
  points = sweep.grid(specs)
  names = {point.name for point in points}
  assert len(names) == len(points) == 512
  assert max(map(len, names)) < 200
