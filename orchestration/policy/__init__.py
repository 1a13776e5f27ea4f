"""Policies as data: seeds read and typed, proven, compiled to static SQL.

Reads no landing and no warehouse rows; decides nothing itself.
"""

from orchestration.policy.check import check_policies, require_sound
from orchestration.policy.finding import Finding
from orchestration.policy.fragments import compile_policies
from orchestration.policy.load import load_policies, load_policy_files
from orchestration.policy.model import Policies, Program
from orchestration.policy.store import store_policies

__all__ = [
    "Finding",
    "Policies",
    "Program",
    "check_policies",
    "compile_policies",
    "load_policies",
    "load_policy_files",
    "require_sound",
    "store_policies",
]
