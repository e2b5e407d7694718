"""The ways to learn, each in a file of its own: what it computes of a batch and which modules it has beside the encoder.

The loop in ``trainer/train.py`` owns images, rounds, rates and checkpoints. docs/methods.md says how to add one."""
