"""Audit: why a subject has a level, from what was released. ``explain`` gathers the data, ``render`` puts it into words."""

from orchestration.audit.explain import Explanation, explain
from orchestration.audit.released import changed_deliveries, check_untouched
from orchestration.audit.render import render

__all__ = ["Explanation", "changed_deliveries", "check_untouched", "explain", "render"]
