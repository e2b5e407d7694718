"""``make chaos``: jobs are submitted while every process of the system is killed at random, and nothing may be lost."""
