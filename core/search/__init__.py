"""Answers: neighbours, classes, exports and attention from one immutable snapshot of a dataset.
Only reads; what a query sees never changes while it runs."""
