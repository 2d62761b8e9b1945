"""``python -m DeepLargeDeformRegLib.cli``."""

from .app import main

main()
