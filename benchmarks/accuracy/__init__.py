"""What the presets reach, beside raw pixels, an untrained encoder, frozen weights and lightly.
Resumable; results are kept in ``benchmarks/results``."""
