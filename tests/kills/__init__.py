"""Kills a project's processes at any point of `dvc repro`, and tells what is left."""
