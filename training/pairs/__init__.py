"""Pairs of scans as the network sees them."""
