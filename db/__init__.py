"""The ground floor: the words every other room speaks, and the stores that keep them."""
