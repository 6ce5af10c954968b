"""Settings for the core's tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("wf", deadline=None)  # a busy machine is no failure
settings.load_profile("wf")
