"""Which token domains an output has tokens of, and under which key version."""

from __future__ import annotations

from ..schemas.consent import parse_instant
from ..schemas.info_types import OnDrift, TokenizeRule
from ..schemas.manifest import Manifest
from ..schemas.policy import Policy
from ..schemas.project import Project
from ..transforms.crypto.key_sets import PublicKeys
from ..transforms.protection_plan import dataset_of
from ..transforms.retokenization import SEARCHED
from .known_outputs import KnownOutput, place_of
from .letters import open_letter_output

__all__ = ["domains_in", "is_as_found", "known_from_output", "known_output"]


def known_output(manifest: Manifest, policy: Policy, out: str, *, noted_at: int) -> KnownOutput:
    """Returns what the project is to know of an output."""
    return KnownOutput(
        place=place_of(out),
        run=manifest.run,
        dataset=manifest.dataset,
        published=True,
        versions=dict.fromkeys(domains_in(manifest, policy), manifest.key_versions.token),
        noted_at=noted_at,
    )


def known_from_output(project: Project, policy: Policy, out: str) -> KnownOutput:
    """Returns the same by what lies there, signed by a trusted key.

    Raises:
        ConfigError: There is no output, or its dataset is none of the policy.
        IntegrityError: Its manifest is not as it was signed.
    """
    manifest = open_letter_output(out, PublicKeys.load(project.trust)).manifest
    return known_output(manifest, policy, out, noted_at=parse_instant(manifest.finished_at))


def domains_in(manifest: Manifest, policy: Policy) -> set[str]:
    """Returns the domains of which an output has tokens, or may have: in its fields, and in free text."""
    fields = manifest.fields.values()
    found = {each.domain for each in fields if each.domain is not None}
    if any(each.action in SEARCHED for each in fields) or is_as_found(policy, manifest.dataset):
        found |= {rule.domain for rule in policy.info_types.values() if isinstance(rule, TokenizeRule) and rule.finds}
    return found


def is_as_found(policy: Policy, dataset: str) -> bool:
    """Returns whether kept columns of a dataset may hold tokens in their texts."""
    return dataset_of(policy, dataset).on_drift is OnDrift.PROTECT_AS_FOUND
