"""The grange command."""
