"""What the computation runs on: processors and their threads, processes that train together.
Nothing here knows what is trained."""
