"""From a trained run to a model that ships: build, publish, figures."""
