"""Fitted scikit-learn estimators as plain arrays, answering in numpy alone: no pickle is served."""

from models.estimators.pack import pack
from models.estimators.predictor import Predictor
from models.estimators.unpack import unpack

__all__ = ["Predictor", "pack", "unpack"]
