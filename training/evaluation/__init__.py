"""Evaluation of registrations: cohorts, comparison with other programs, calibration of the verdict."""
