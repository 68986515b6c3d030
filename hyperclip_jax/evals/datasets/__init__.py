"""Public data sets, each with its evaluation."""
