"""tuneline: labelled text to a promoted language model."""

__version__ = "0.1.0"
