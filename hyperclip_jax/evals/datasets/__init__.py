"""Public data sets, each with the evaluation that belongs to it."""
