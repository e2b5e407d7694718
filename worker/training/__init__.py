"""The training job: the trainer's process, what it is given, what it tells, and what is published.
Torch is loaded in the child process alone."""
