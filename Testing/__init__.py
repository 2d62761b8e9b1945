"""The tests: a package, so that ``Testing.slicer_app`` has one name in a process, whoever imports it."""
