"""Bad records are counted, and named without harm to a terminal."""

import pytest

from hyperclip_jax.data.feed.faults import Faults, TooManyFaults
from hyperclip_jax.files import SHOWN


def test_names_and_errors_of_the_data_are_escaped_and_cut(caplog):
  name, error = "0.tar: record '\x1b[2J'", ValueError("\x1b]0;x" + "y" * 10_000)
  Faults(1.0).add(0, name, error)
  with pytest.raises(TooManyFaults) as raised:
    Faults(0.0).add(0, name, error)
  for text in (caplog.messages[0], str(raised.value)):
    assert "\x1b" not in text
    assert "record '\\x1b[2J'" in text
    assert "\\x1b]0;xyy" in text
    assert len(text) < 3 * SHOWN
