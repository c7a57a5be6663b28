"""What the prognosis families share: a study as data, four kinds of hazard model, and a survival curve."""
