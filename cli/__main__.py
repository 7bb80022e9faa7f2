"""`python -m grange.cli`: the `grange` command where its script is not on the path."""

from .begin import main

main()
