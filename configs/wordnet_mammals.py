"""WordNet's mammals in five dimensions: 1,180 nouns, 6,540 pairs.

hyperclip embed --config=configs/wordnet_mammals.py --workdir=DIR

Needs WordNet 3.0's files: apt-get install wordnet-base, or
--config.wordnet=FOLDER. After a colon stands the model, `:poincare` or
`:lorentz`. Two nouns are left out, as in the published pairs.
"""

import dataclasses

from ml_collections import ConfigDict

from hyperclip_jax.trees.options import Options


def get_config(model: str = "lorentz") -> ConfigDict:
  options = Options(
    root="mammal.n.01",
    left_out=("tusker.n.01", "female_mammal.n.01"),
    model=model,
    burn_in=0,
    burn_in_rate=0.001,
    ramp=40,
  )
  return ConfigDict(dataclasses.asdict(options), type_safe=True)
