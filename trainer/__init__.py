"""Anchor Neighbourhood Discovery (AND; Huang, Dong, Gong, Zhu, ICML 2019) in plain PyTorch.

A library and a command line (``python -m trainer``). It knows neither HTTP nor a database nor Celery.
"""
