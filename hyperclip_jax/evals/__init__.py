"""Evaluations: functions of a model and data that return named numbers.

Every rate (accuracy, recall, precision, ...) is a fraction between 0 and 1.
"""
