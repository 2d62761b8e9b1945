"""The registration: pre-alignment, prediction, search, refinement and what joins them."""
