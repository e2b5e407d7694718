"""What pictures are: formats of files, colours and depths of pixels, and images as people and encoders see them."""
