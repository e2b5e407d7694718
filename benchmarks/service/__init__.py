"""Queries, ingest and growth of the running service, beside other engines.
Prints ratios of one run."""
