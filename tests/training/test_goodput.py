"""Seconds go where they were spent."""

import jax.numpy as jnp
import pytest

from hyperclip_jax.training import goodput


class FakeTime:
  """A clock that stands still unless told."""

  def __init__(self):
    self.now = 100.0

  def monotonic(self):
    return self.now

  def advance(self, seconds):
    self.now += seconds


@pytest.fixture
def fake(monkeypatch):
  fake = FakeTime()
  monkeypatch.setattr(goodput, "time", fake)
  return fake


def test_split_and_goodput(fake, capsys):
  clock = goodput.Clock()
  fake.now += 5
  clock.started()
  batches = [{"text": jnp.zeros((2, length))} for length in (8, 16, 8)]
  for batch in batches:
    with clock.on("data"):
      fake.now += 1
    clock.step(lambda *_: fake.advance(10), None, batch)
  assert clock.trained() == (1, pytest.approx(13))
  # 33 seconds: two compilations of 10, one step of 10, three waits of 1.
  assert clock.split() == pytest.approx(
    {"data_share": 3 / 33, "device_share": 10 / 33}
  )
  with clock.on("checkpoint"):
    fake.now += 2
  assert clock.split() == {"data_share": 0, "device_share": 0}
  found = clock.report()
  assert found == pytest.approx(
    {
      "goodput": 13 / 40,
      "seconds": 40,
      "start_seconds": 5,
      "compile_seconds": 20,
      "checkpoint_seconds": 2,
      "evaluation_seconds": 0,
      "data_seconds": 3,
    }
  )
  assert "goodput 32.5% of 0:40; start 12.5%" in capsys.readouterr().err
