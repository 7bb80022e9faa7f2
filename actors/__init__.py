"""The actor contract's process side, and the reference trigger / PSA chain with its data exchange."""
