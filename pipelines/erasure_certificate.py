"""Makes the certificate of an erasure: what was done, how it was checked, and what remains. Never imports Beam."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

from ..schemas.certificate import Certificate, CertifiedOutput, HeldValues, Remainder, parse_certificate
from ..schemas.consent import format_instant, parse_instant
from ..schemas.errors import ConfigError, IntegrityError
from ..schemas.manifest import SignatureText, signed_bytes
from ..schemas.policy import Policy
from ..transforms.crypto.key_sets import ProofKeys, PublicKeys, Signature, SignatureContext
from ..transforms.stores.erasure_journal import ErasureCase, ErasureState, HeldBack
from .held_values import FOREVER, legal_purposes

__all__ = ["made_certificate", "verified_certificate"]

DAY = timedelta(days=1)


def made_certificate(
    case: ErasureCase,
    policy: Policy,
    *,
    tenant: str,
    ledger: tuple[int, bytes],
    outputs: Sequence[CertifiedOutput],
    unnamed: Sequence[str],
    held: Sequence[HeldBack],
    tells_id: bool,
    keys: ProofKeys,
    now: int,
) -> Certificate:
    """Returns the signed certificate of an erasure that was verified.

    Args:
        case: Of the journal.
        policy: In force.
        tenant: Whose it is.
        ledger: Position and link of the last entry.
        outputs: That were redacted and searched.
        unnamed: Places of other outputs that the project knows of.
        held: What legal obligations hold back.
        tells_id: Whether the raw id is long enough to be searched for in any column.
        keys: Sign it.
        now: Microseconds UTC.
    """
    lost = case.account.get("lost_holds", ())
    held = [part for part in held if part.domain not in lost]
    certificate = Certificate(
        case=case.id,
        tenant=tenant,
        subject=case.subject.hex(),
        requested_at=format_instant(case.requested_at),
        certified_at=format_instant(now),
        steps=case.account["steps"],
        ledger_position=ledger[0],
        ledger_head=ledger[1].hex(),
        vault_entries=case.account["vault_entries"],
        outputs=tuple(outputs),
        held_back=tuple(
            HeldValues(
                domain=part.domain,
                purposes=legal_purposes(policy, part.domain),
                until=None if part.until >= FOREVER else format_instant(part.until),
            )
            for part in held
        ),
        remains=tuple(_remains(case, policy, _named(outputs, unnamed), held, tells_id)),
    )
    signature = keys.sign(SignatureContext.CERTIFICATE, signed_bytes(certificate.as_json()))
    return certificate.signed_with(SignatureText(key_id=signature.key_id, value=signature.value.hex()))


def verified_certificate(path: Path, trust: PublicKeys) -> Certificate:
    """Returns the certificate in a file, if a trusted key signed it for this tenant.

    Raises:
        ConfigError: The file cannot be read.
        IntegrityError: It is no certificate, or was changed.
        SignatureError: It is not signed by a trusted key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name a certificate") from None
    certificate, signed = parse_certificate(data)
    if certificate.signature is None or certificate.tenant != trust.tenant:
        raise IntegrityError(f"{path}: is not signed for the tenant of the trusted keys; name the right trust file")
    signature = Signature(certificate.signature.key_id, bytes.fromhex(certificate.signature.value))
    trust.verify(SignatureContext.CERTIFICATE, signed, signature)
    return certificate


def _named(outputs: Sequence[CertifiedOutput], unnamed: Sequence[str]) -> str:
    named = ", ".join(output.path for output in outputs) or "none"
    return f"named: {named}; known to the project and not named: {', '.join(unnamed) or 'none'}"


def _remains(
    case: ErasureCase, policy: Policy, named: str, held: Sequence[HeldBack], tells_id: bool
) -> Iterator[Remainder]:
    frozen = parse_instant(case.account["steps"][ErasureState.FROZEN])
    window = frozen + (policy.dead_letters.retain + DAY) // timedelta(microseconds=1)
    yield Remainder(
        what="dead_letters",
        says="Dead letters of records whose subject could not be told, or that came after the erasure, are sealed "
        "under the key of their day alone; keys of days up to the erasure are destroyed by the instant given.",
        until=format_instant(window),
    )
    yield Remainder(
        what="other_outputs",
        says=f"Outputs that were not named hold what they held, tokens of this person included ({named}). "
        "`consentry redact DIR` takes that out of them at any later time.",
    )
    yield Remainder(
        what="tokens",
        says="Copies of tokens outside of the outputs named can be linked, and reversible ones inverted, by whoever "
        "holds the token keys.",
    )
    yield Remainder(
        what="backups_of_data_keys",
        says="A backup of the data keys from before the erasure opens what else was kept of that time, with the vault "
        "key set, until the backup itself is destroyed. Backups of the vault and of outputs alone stay unreadable.",
    )
    yield Remainder(
        what="access_log",
        says="The access log keeps who asked for values of the keyed reference, and when; no value and no id.",
    )
    if left_out := ", ".join(case.account.get("left_out", ())):
        yield Remainder(
            what="left_out",
            says=f"Outputs that were named and then left out, as gone for good, so nobody looked at them: {left_out}.",
        )
    if lost := ", ".join(case.account.get("lost_holds", ())):
        yield Remainder(
            what="hold_lost",
            says=f"Values that were held back for a legal obligation ({lost}) cannot be opened: their key was gone "
            "from the data keys before its time. They open again where a backup of the data keys with it is restored.",
        )
    if not tells_id:
        yield Remainder(
            what="short_id",
            says="The id is too short to be told from other values, so it was searched for in subject columns only.",
        )
    for part in held:
        purposes = ", ".join(legal_purposes(policy, part.domain)) or "none any more"
        yield Remainder(
            what="held_back",
            says=f"Values of '{part.domain}' are held back for a legal obligation ({purposes}), sealed under a key of "
            "this case, and shown for such a purpose only. Without an end, they stay until the erasure is run again "
            "with --no-hold.",
            until=None if part.until >= FOREVER else format_instant(part.until),
        )
