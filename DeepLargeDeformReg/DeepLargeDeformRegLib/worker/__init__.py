"""The background process that registers, and its client."""
