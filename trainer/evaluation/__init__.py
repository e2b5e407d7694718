"""What a run is worth: metrics, the judge with labels, figures without them, the choice of a round, attention, plots.
Reads checkpoints, changes none."""
