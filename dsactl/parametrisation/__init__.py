"""How the images of a set are stored, and decoded for training."""
