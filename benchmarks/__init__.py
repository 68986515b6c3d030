"""Measurements; RESULTS.md says what they found."""
