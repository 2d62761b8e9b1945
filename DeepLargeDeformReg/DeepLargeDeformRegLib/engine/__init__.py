"""The registration itself: torch, numpy and SimpleITK; knows nothing of Slicer, Qt or VTK."""
