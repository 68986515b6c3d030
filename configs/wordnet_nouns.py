"""All of WordNet's nouns in ten dimensions: 82,115 nodes, 743,241 pairs.

hyperclip embed --config=configs/wordnet_nouns.py --workdir=DIR

Needs WordNet 3.0's files: apt-get install wordnet-base, or
--config.wordnet=FOLDER. After a colon stands the model, `:poincare` or
`:lorentz`. An interrupted run goes on by the same command.
"""

import dataclasses

from ml_collections import ConfigDict

from hyperclip_jax.trees.options import Options


def get_config(model: str = "lorentz") -> ConfigDict:
  options = Options(
    root="",
    dim=10,
    model=model,
    learning_rate=1.0,
    batch_size=50,
    epochs=150,
    burn_in=0,
    burn_in_rate=0.0005,
    ramp=40,
    eval_every=10,
    eval_nodes=1_000,
  )
  return ConfigDict(dataclasses.asdict(options), type_safe=True)
