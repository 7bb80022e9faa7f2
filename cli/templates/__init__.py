"""What `grange actor new` writes: templates of actors, their tests and a small farm to try them in."""
