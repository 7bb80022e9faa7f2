"""No example has a deadline: what is decided here takes no time of its own, and the machine may be busy."""

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
