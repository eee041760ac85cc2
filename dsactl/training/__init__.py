"""Training of networks by SGD, with torch's ordinary steps or with CUDA graphs."""
