"""Encoders and what they start from.
A module here builds a network; the loop that trains it is ``trainer/train.py``."""
