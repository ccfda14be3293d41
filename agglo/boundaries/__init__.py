"""Boundary models on disk: their folder, their training and their application, on Ray."""
