"""What may happen and what to do about it: pure decisions, no I/O, no clock, no randomness."""
