"""What one NVIDIA GPU does with the trainer."""
