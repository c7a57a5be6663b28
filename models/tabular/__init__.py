"""What the families on tables share: a recipe as data, a matrix, an ensemble on it, and its evidence."""
