"""Systems of encoder and loss to train: CLIP, MERU, HyCoCLIP."""
