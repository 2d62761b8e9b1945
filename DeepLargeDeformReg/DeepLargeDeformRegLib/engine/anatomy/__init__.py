"""Structures found in a scan itself: lungs and body of CT by classical steps, organs by a network."""
