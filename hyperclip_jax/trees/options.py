"""Options of an embedding."""

import dataclasses

from hyperclip_jax.sections import Section, choice, number, path


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options of an embedding; the defaults are the published ones of mammals.

  Attributes:
    edges: CSV file of a hierarchy, in each row a node and one of its parents;
      "" for WordNet's nouns.
    wordnet: folder of WordNet's database files.
    root: node below which to embed all nodes, and it; "" for all.
    left_out: nodes whose pairs with those above them are left out.
    dim: dimension of the space.
    curv: c, where the curvature is -c.
    model: coordinates and steps: "lorentz" has the hyperboloid and geodesics
      (Nickel and Kiela, 2018), "poincare" the ball and straight steps that
      end inside it (2017).
    loss: "distance", the cross entropy of minus distances, or "cones", the
      energy of entailment cones (Ganea et al., 2018).
    min_radius: K, the scale of the cones.
    margin: energy from which a pair that is not one has no loss.
    spread: bound of the uniform numbers that tables start from.
    epochs: passes over all pairs.
    batch_size: pairs in a step.
    negatives: nodes to tell apart from that above, for each pair.
    learning_rate: rate of Riemannian SGD; the losses of a batch add up.
    burn_in: first epochs, with a smaller rate.
    burn_in_rate: factor of the rate in those, and before the ramp.
    ramp: epochs after burn-in in which the rate grows by the same factor each,
      up to the full one. Large hierarchies need many: nodes must lie in the
      right directions before they are far out, where directions freeze.
    burn_in_power: negatives of burn-in are drawn as often as the node occurs in
      pairs to this power; 0 for all alike, as after it.
    longest: distance that a node moves at most in a step.
    eval_every: epochs between evaluations, after which the table is saved.
    eval_nodes: nodes of an evaluation, spread evenly; 0 for all, as at the
      end.
    seed: seed of all random numbers.
  """

  edges: str = path()
  wordnet: str = path("/usr/share/wordnet")
  root: str = "mammal.n.01"
  left_out: tuple[str, ...] = ()
  dim: int = number(5, most=4096)
  curv: float = number(1.0, least=1e-3, most=1e3)
  model: str = choice("lorentz", ("lorentz", "poincare"))
  loss: str = choice("distance", ("distance", "cones"))
  min_radius: float = number(0.1, least=1e-3, most=1)
  margin: float = number(0.1, least=0, most=3)
  spread: float = number(1e-3, least=1e-8, most=1)
  epochs: int = number(300)
  batch_size: int = number(10, most=2**20)
  negatives: int = number(50, most=2**16)
  learning_rate: float = number(0.3, least=1e-8, most=1e3)
  burn_in: int = number(20, least=0)
  burn_in_rate: float = number(0.1, least=0, most=1)
  ramp: int = number(0, least=0)
  burn_in_power: float = number(0.75, least=0, most=4)
  longest: float = number(1.0, least=1e-6, most=10)
  eval_every: int = number(50)
  eval_nodes: int = number(0, least=0)
  seed: int = number(0, least=0, most=2**32 - 1)

  def problems(self):
    if self.ramp and not self.burn_in_rate:
      yield (
        "burn_in_rate must be more than 0, from which the ramp grows, found "
        f"{self.burn_in_rate}"
      )
