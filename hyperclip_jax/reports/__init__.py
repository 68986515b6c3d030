"""Reports: plots, and self-contained HTML pages on runs, data and models."""
