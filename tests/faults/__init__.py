"""The faults that wetread must survive, tried on real processes."""
