"""Training of the network that finds organs in CT: label maps and real scans in, weights and their card out."""
