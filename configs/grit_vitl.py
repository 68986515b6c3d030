"""HyCoCLIP ViT-L/16 on GRIT: the paper's recipe with the large image tower.

python -m hyperclip_jax.main --config=configs/grit_vitl.py --workdir=DIR \
  --config.data.shards='/data/grit/*.tar' \
  --config.data.held_out='/data/held_out/*.tar'

Evaluation and report use the shards of `data.held_out`, which must not be among
`data.shards`. Without them they use a sample of the training records, and their
results are named `train_sample/...`.

The paper has no numbers at this size. `:meru` and `:clip` train the baselines.
"""

from hyperclip_jax.training.config import Config, paper


def get_config(system: str = "hycoclip") -> Config:
  return paper(system, "L")
