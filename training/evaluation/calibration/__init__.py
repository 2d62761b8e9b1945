"""Where the limits of the verdict and the law of the expected error come from."""
