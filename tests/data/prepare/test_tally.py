from hyperclip_jax.data.prepare.tally import Tally


def test_tally_keeps_the_first_example():
  tally = Tally()
  for key in "abc":
    tally.reject("bad image", key)
  assert tally.records == {"bad image": 3}
  assert tally.examples == {"bad image": "a"}
