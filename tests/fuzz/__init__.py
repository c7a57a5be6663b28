"""Mutations of real files against every reader."""
