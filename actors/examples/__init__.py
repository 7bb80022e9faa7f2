"""Actors to copy, in languages other than Python: `grange actor new` does it, docs/actor-guide.md explains them."""
