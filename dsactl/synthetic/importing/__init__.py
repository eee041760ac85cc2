"""Sets that other programs and machines have made, checked and stored."""
