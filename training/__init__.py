"""Training of the registration networks: from data to shipped weights. Nothing in the library imports it."""
