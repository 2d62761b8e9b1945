"""Registration of 3D scans that differ by a large deformation."""

__version__ = "0.1.0"
