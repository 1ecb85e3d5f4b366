"""What the policy lets the vault hold: for which purposes, and for how long."""

from __future__ import annotations

from datetime import timedelta

from ...schemas.info_types import Basis
from ...schemas.policy import Policy

__all__ = ["distribution_rules", "oldest_kept"]


def distribution_rules(policy: Policy) -> dict[str, tuple[tuple[str, Basis], ...]]:
    """Returns, for each token domain, the purposes that let the vault hold its values, with their bases."""
    return {
        name: tuple((purpose, policy.basis(purpose)) for purpose in domain.distribute)
        for name, domain in policy.token_domains.items()
    }


def oldest_kept(policy: Policy, now: int) -> dict[str, int]:
    """Returns, for each token domain with a ``retain``, the earliest event time of values that the vault may keep."""
    return {
        name: now - domain.retain // timedelta(microseconds=1)
        for name, domain in policy.token_domains.items()
        if domain.retain is not None
    }
