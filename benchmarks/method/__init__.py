"""What AND gains over its alternatives.
Resumable; results are kept in ``benchmarks/results``."""
