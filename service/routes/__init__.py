"""Thin handlers: parse, call core, return."""
