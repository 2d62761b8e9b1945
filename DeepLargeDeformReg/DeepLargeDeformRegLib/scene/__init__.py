"""MRML in and out: what a registration takes from a Slicer scene and what it puts there.

Everything here speaks RAS to the scene and LPS to the rest of the product.
"""
