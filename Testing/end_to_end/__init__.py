"""Whole registrations in the stand-in application, with the real worker and the real engine."""
