"""Models on disk: checkpoints of runs, releases, and the official layout."""
