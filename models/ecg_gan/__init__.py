"""Invented ECG beats, no one's: normal, supraventricular and ventricular, joined to a rhythm."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
CLASSES = ("N", "S", "V")
