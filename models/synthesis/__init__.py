"""What the families that invent data share: the adversarial pair, its training, and its measures."""
