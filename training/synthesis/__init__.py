"""Training pairs without a data set: patients painted around the shapes of real organs, deformed and scanned.

:func:`open_pairs` gives pairs by seed; ``python -m training.synthesis.preview`` shows them.
"""

from .pairs import SynthesisSettings, SyntheticPair, SyntheticPairs, SyntheticScan, open_pairs, structures_of

__all__ = ["SynthesisSettings", "SyntheticPair", "SyntheticPairs", "SyntheticScan", "open_pairs", "structures_of"]
