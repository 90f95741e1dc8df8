"""How is a property tested on a machine that is busy with something else? Without a clock."""

from hypothesis import HealthCheck, settings

untimed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Decorates a @given test: neither a slow example nor slow generation fails it."""
