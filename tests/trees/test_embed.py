"""Embeddings of small trees: measures, losses, training, and the command."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hyperclip_jax.commands import door
from hyperclip_jax.geometry import lorentz, poincare
from hyperclip_jax.trees import embed, measures, saved
from hyperclip_jax.trees import energy as energy_lib
from hyperclip_jax.trees.closure import closure
from hyperclip_jax.trees.options import Options

pytestmark = pytest.mark.usefixtures("standard_promotion")

TREE = {str(i): [str(i // 2)] for i in range(2, 32)}  # five floors
SMALL = {
  "root": "",
  "dim": 3,
  "epochs": 40,
  "burn_in": 4,
  "burn_in_rate": 0.1,
  "ramp": 0,
  "batch_size": 8,
  "negatives": 8,
  "eval_every": 20,
}


@pytest.fixture
def float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture(scope="module")
def tree():
  return closure(TREE)


def brute(energies, closure):
  """Mean rank and MAP by sorting, one node after the other."""
  above = {}
  for node, other in closure.pairs.tolist():
    above.setdefault(node, set()).add(other)
  ranks, precisions = [], []
  for node, true in sorted(above.items()):
    order = np.lexsort((np.arange(len(energies)), energies[node])).tolist()
    order.remove(node)
    hits, own = 0, []
    for place, other in enumerate(order, 1):
      if other in true:
        ranks.append(place - hits)
        hits += 1
        own.append(hits / place)
    precisions.append(np.mean(own))
  return np.mean(ranks), np.mean(precisions)


def test_the_rate_grows_to_the_full_one():
  def rates(count, **options):
    o = Options(learning_rate=1.0, **options)
    return [embed.learning_rate(o, epoch) for epoch in range(count)]

  assert rates(2, burn_in=0) == [1, 1]
  assert rates(3, burn_in=2, burn_in_rate=0.25) == [0.25, 0.25, 1]
  found = rates(5, burn_in=0, burn_in_rate=0.001, ramp=3)
  np.testing.assert_allclose(found, [0.01, 0.1, 1, 1, 1])
  found = rates(5, burn_in=2, burn_in_rate=0.01, ramp=2)
  np.testing.assert_allclose(found, [0.01, 0.01, 0.1, 1, 1])
  assert rates(2, burn_in=1, burn_in_rate=0.0) == [0, 1]
  with pytest.raises(ValueError, match="burn_in_rate must be more than 0"):
    Options(burn_in_rate=0.0, ramp=2)


def test_a_ramp_puts_nodes_in_the_right_directions():
  """With few negatives, as large hierarchies have, they freeze elsewhere."""
  tree = closure({str(i): [str((i - 1) // 3)] for i in range(1, 364)})
  ranks = {}
  for ramp in (0, 30):
    o = Options(
      root="",
      dim=3,
      epochs=60,
      batch_size=50,
      negatives=2,
      learning_rate=0.5,
      burn_in=0,
      burn_in_rate=0.001,
      ramp=ramp,
    )
    *_, last = embed.epochs(o, tree, embed.start(o, len(tree.names)))
    found = measures.reconstruction(energy_lib.energy(o), last.table, tree)
    ranks[ramp] = found["mean_rank"]
  assert ranks[30] < ranks[0] / 2


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("model", ["lorentz", "poincare"])
def test_rank_and_map_are_those_of_sorting(tree, model, ties, monkeypatch):
  monkeypatch.setattr(measures, "AT_ONCE", 500)  # several calls
  table = np.random.default_rng(0).normal(size=(len(tree.names), 3)) / 4
  table = np.round(table * 2) / 4 if ties else table
  e = energy_lib.energy(Options(dim=3, model=model))
  x = jnp.asarray(table, jnp.float32)
  energies = np.asarray(e.scores(x[:, None], x[None]))
  assert (len(np.unique(energies)) < 100) == ties
  rank, precision = brute(energies, tree)
  for alike in (measures.ALIKE, 0):  # one shape, or by how many are above
    monkeypatch.setattr(measures, "ALIKE", alike)
    found = measures.reconstruction(e, x, tree)
    np.testing.assert_allclose(found["mean_rank"], rank, rtol=1e-6)
    np.testing.assert_allclose(found["map"], precision, rtol=1e-6)
    assert found["nodes"] == len(tree.names) - 1
  few = measures.reconstruction(e, x, tree, np.array([0, 1]))
  assert few["nodes"] == 1  # nothing is above the first


def test_losses_are_those_of_the_papers(float64):
  energies = jnp.array([1.0, 2.0, 0.5, 3.0])
  mask = jnp.array([True, False, True])
  kept = np.exp([-1.0, -2.0, -3.0])
  np.testing.assert_allclose(
    energy_lib.nearest(energies, mask), -np.log(kept[0] / kept.sum())
  )
  none = jnp.zeros(3, bool)
  assert energy_lib.nearest(energies, none) == 0
  assert np.isfinite(jax.grad(energy_lib.nearest)(energies, none)).all()
  angles = jnp.array([0.3, 0.05, -0.2, 0.4])
  np.testing.assert_allclose(
    energy_lib.inside(angles, mask, 0.1), 0.3 + 0.05, rtol=1e-12
  )


def test_both_models_have_the_same_energies_and_gradients(float64):
  x = jnp.asarray(np.random.default_rng(1).normal(size=(6, 3)))
  for loss in ("distance", "cones"):
    o = Options(model="lorentz", loss=loss, curv=0.7)
    hyperboloid, ball = (
      energy_lib.energy(Options(model=m, loss=loss, curv=0.7))
      for m in ("lorentz", "poincare")
    )
    p = poincare.from_lorentz(x, o.curv)
    np.testing.assert_allclose(
      hyperboloid.scores(x[:3], x[3:]), ball.scores(p[:3], p[3:]), rtol=1e-9
    )

    def moved(e, table, rate):
      grads = jax.grad(lambda t: e.scores(t[:3], t[3:]).sum())(table)
      step = -rate * e.manifold.gradient(table, grads)
      return e.lorentz(e.manifold.expmap(table, step))

    # Straight steps are those along geodesics, to first order.
    rate = 1e-5
    far = lorentz.dist(
      moved(hyperboloid, x, rate), moved(ball, p, rate), o.curv
    )
    assert float(far.max()) < 1e-7


def test_steps_of_the_ball_end_inside_of_it():
  manifold = energy_lib.Retraction(1.0)
  x = manifold.expmap(jnp.array([0.9, 0.0]), jnp.array([5.0, 1.0]))
  np.testing.assert_allclose(jnp.linalg.norm(x), 1 - 1e-5, rtol=1e-6)


def test_negatives_are_neither_the_node_nor_above_it(tree):
  above = jnp.asarray(tree.above())
  numbers = jnp.arange(len(tree.names))
  all_others = jnp.broadcast_to(numbers, (len(numbers), len(numbers)))
  found = np.asarray(embed._unrelated(numbers, all_others, above))
  wanted = ~np.eye(len(numbers), dtype=bool)
  wanted[tuple(tree.pairs.T)] = False
  np.testing.assert_array_equal(found, wanted)


def trained(o, tree):
  *_, last = embed.epochs(o, tree, embed.start(o, len(tree.names)))
  return last


@pytest.mark.parametrize("model", ["lorentz", "poincare"])
def test_a_tree_is_learned(tree, model):
  o = Options(**SMALL, model=model)
  last = trained(o, tree)
  found = measures.reconstruction(energy_lib.energy(o), last.table, tree)
  assert found["map"] > 0.95
  points = np.asarray(energy_lib.energy(o).lorentz(last.table))
  radii = np.linalg.norm(points, axis=1)
  assert radii[tree.names.index("1")] < np.median(radii)  # the root is inside


def test_cones_are_learned(tree):
  o = Options(**SMALL, loss="cones", spread=0.3, learning_rate=0.02)
  e, first = energy_lib.energy(o), embed.start(o, len(tree.names))
  before = measures.reconstruction(e, first, tree)["map"]
  after = measures.reconstruction(e, trained(o, tree).table, tree)["map"]
  assert after > max(0.6, before + 0.2)


def test_the_command_embeds_resumes_and_reports(tmp_path, capsys):
  edges = tmp_path / "edges.csv"
  edges.write_text("".join(f"{a},{b}\n" for a, (b,) in TREE.items()))
  config = "--config=configs/wordnet_mammals.py"
  given = [f"--config.{k}={v}" for k, v in SMALL.items()]
  given += [f"--config.edges={edges}", "--config.left_out=()"]

  def run(workdir, *more):
    argv = ["embed", config, f"--workdir={tmp_path / workdir}", *given, *more]
    assert door.run(argv) == 0
    return saved.load(tmp_path / workdir)

  whole = run("whole")
  said = capsys.readouterr().err
  assert "31 nodes, 98 pairs" in said
  assert "note" not in said
  run("short", "--config.epochs=3")
  note = "note: the rate reaches 0.3 after 4 epochs: take more"
  assert note in capsys.readouterr().err
  half = run("parts", "--config.epochs=20")
  assert half.epochs == 20
  found = run("parts")
  np.testing.assert_array_equal(found.table, whole.table)
  assert found.names == whole.names
  assert found.points.shape == (31, 3)
  results = json.loads((tmp_path / "parts/results.json").read_text())
  assert results["map"] > 0.95
  history = json.loads((tmp_path / "parts/metrics.json").read_text())
  assert [row["step"] for row in history] == [20, 40]
  page = (tmp_path / "parts/report.html").read_text()
  assert "data:image/svg" in page
  assert f"{results['map']:.4f}" in page
  with pytest.raises(SystemExit, match=r"config\.seed was 0, now 1"):
    run("parts", "--config.seed=1")
  with pytest.raises(SystemExit, match=r"dim must be .* found 0"):
    run("other", "--config.dim=0")
  (tmp_path / "parts/embedding.npz").write_bytes(b"PK")
  with pytest.raises(SystemExit, match="no embedding"):
    run("parts")
