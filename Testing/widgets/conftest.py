from Testing.slicer_app.fixtures import application  # noqa: F401
