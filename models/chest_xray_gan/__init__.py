"""Invented chest films of children, no one's: normal and with pneumonia, 28 by 28 pixels."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).parent
CLASSES = ("normal", "pneumonia")
