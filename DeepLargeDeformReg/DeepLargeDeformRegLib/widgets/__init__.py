"""The pieces of the panel that deserve a file of their own, and what runs the worker within Slicer's event loop."""
