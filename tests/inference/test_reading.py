import threading
import time

import pytest

from hyperclip_jax.inference import reading


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_all_come_in_order(count):
  groups = reading.groups(range(count), 4)
  found = [*reading.ahead(groups, lambda i: i)]
  assert [i for group in found for i in group] == [*range(count)]
  assert all(len(group) == 4 for group in found[:-1])


def test_the_next_group_is_read_while_one_is_used(monkeypatch):
  monkeypatch.setattr(reading, "AHEAD", 2)
  read = threading.Event()
  found = reading.ahead(
    reading.groups(range(6), 2), lambda i: read.set() if i == 3 else None
  )
  next(found)
  assert read.wait(5)


@pytest.mark.parametrize("size", [1, 2, 6, 50])
def test_no_more_than_so_many_items_are_read_ahead(size, monkeypatch):
  monkeypatch.setattr(reading, "AHEAD", 6)
  seen = set()
  found = reading.ahead(reading.groups(range(100), size), seen.add)
  next(found)
  time.sleep(0.05)
  assert seen <= {*range(size + max(size, 6))}


def test_an_error_comes_through_at_once():
  def read(number):
    if number == 2:
      raise ValueError("image 2")
    return number

  with pytest.raises(ValueError, match="image 2"):
    list(reading.ahead(reading.groups(range(1000), 2), read))


def test_groups_may_be_of_any_size():
  groups = ["a", "", "bcd"]
  assert [*reading.ahead(groups, str.upper)] == [["A"], [], ["B", "C", "D"]]
