"""Many pairs: the table that names them, their registration side by side, resuming, and the cohort's tables."""
