"""Datasets and all that happens to them: intake, images, labels, deletions, compaction, embedding, and what training needs.
Whatever changes an answer bumps the dataset's generation in its own transaction."""
