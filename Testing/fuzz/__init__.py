"""Inputs and moments drawn at random, tried against the readers and writers; ``python -m Testing.fuzz``."""
