"""Speed and memory of training, as ratios measured in one run."""
