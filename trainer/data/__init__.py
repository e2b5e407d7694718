"""Images as the trainer takes them: sources, decoded pixels, augmentation, benchmark sets.
Labels have no way in."""
