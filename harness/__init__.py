"""The simulated world, its faults and checkers; benchmarks."""
