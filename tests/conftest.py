"""What holds for all tests."""

from hypothesis import settings

settings.register_profile(
    "any machine", settings(), deadline=None
)  # a busy one takes seconds where milliseconds are usual
settings.load_profile("any machine")
