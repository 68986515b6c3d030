"""Evaluations: small functions of (model, data) that return named numbers.

Every rate (accuracy, recall, precision, ...) is a fraction between 0 and 1.
"""
