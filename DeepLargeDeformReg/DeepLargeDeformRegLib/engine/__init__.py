"""The registration itself: torch, numpy and SimpleITK; knows nothing of Slicer, Qt or VTK."""

import os

# Before torch is imported: its threads wait for each other by spinning for milliseconds, which makes a registration
# several times as slow where other programs compute, too. A thousand turns are enough where none does.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
