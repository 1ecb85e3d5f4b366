"""Erases a person: a journal of states, each written only when all of it is done.

    requested   what was asked, the marks of the subject's tokens, and what a legal obligation holds back are noted
    frozen      the ledger says erased: nothing of theirs is permitted from here on, also for running jobs
    shredded    their data key is destroyed, their vault entries are gone, from the files of embedded stores too
    redacted    the outputs named hold nothing of theirs any more
    verified    all of that was looked at again, and the outputs were searched
    certified   a signed certificate says so, and what remains

Killed anywhere it goes on from the last state. The journal does not hold the raw id, which is needed to search for it:
who goes on names the person again. Without outputs nothing here loads Beam.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..schemas.certificate import Certificate, CertifiedOutput
from ..schemas.consent import format_instant
from ..schemas.errors import ConfigError, RunError, StoreError
from ..schemas.policy import Policy
from ..schemas.policy_file import read_policy
from ..schemas.project import Project
from ..transforms.crypto.key_sets import ProofKeys, TokenKeys
from ..transforms.crypto.subject_references import subject_reference
from ..transforms.stores.erasure_journal import ErasureCase, ErasureJournal, ErasureState, erasures_exist, open_erasures
from ..transforms.stores.leftovers import forget_removed
from ..transforms.subject_marks import SubjectMarks, marked_rules, subject_tokens
from ..transforms.text_redaction import Needles
from ..transforms.tokens.open_tokenizer import open_tokenizer
from .desk import Stores, open_stores
from .erasure_certificate import made_certificate
from .held_values import held_back, release_held
from .keyring_files import open_proof_keys, open_token_keys
from .known_outputs import unnamed_places
from .lost_holds import HoldState, hold_states
from .publication import FILE_SCHEME, is_local

__all__ = ["EraseOptions", "erase_subject", "listed_erasures"]

Clock = Callable[[], int]

LOCK = ".consentry-erasure.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class EraseOptions:
    """How a person is to be erased.

    Attributes:
        outputs: Outputs to redact, beside those that were named before.
        without: Outputs that were named before and are gone for good.
        all_rows: Whether outputs that do not tell whose their rows are lose all that asks for a permission.
        hold: Whether legal obligations hold back what they need.
        hold_until: Microseconds UTC, no longer than so; None: as long as the policy's ``retain``, or until released.
        resume: Whether only an erasure that was begun may go on.
    """

    outputs: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    all_rows: bool = False
    hold: bool = True
    hold_until: int | None = None
    resume: bool = False


def erase_subject(
    project: Project, subject: str, options: EraseOptions, *, clock: Clock = lambda: time.time_ns() // 1000
) -> Certificate:
    """Erases a person, or goes on with it, and returns the certificate.

    Args:
        project: Names policy, keys and stores.
        subject: The raw id, as the datasets spell it.
        options: How.
        clock: Microseconds UTC.

    Raises:
        ConfigError: The id is blank, nothing is to be resumed, or an output cannot be redacted; nothing was done.
        RunError: What was done could not be verified; name the person again to go on.
        PrivacyError: Keys, stores or an output cannot be used. What was done stays done; name the person again.
    """
    policy = read_policy(project.policy)
    token_keys, proof_keys = open_token_keys(project), open_proof_keys(project)
    with ExitStack() as opened:
        opened.enter_context(_alone(project))
        stores = opened.enter_context(open_stores(project))
        reference = subject_reference(subject, stores.keys.reference_key)
        if reference is None:
            raise ConfigError("--subject: is blank; name the person by the id that the datasets have")
        journal = opened.enter_context(closing(open_erasures(project.erasures, create=True)))
        erasure = _Erasure(project, policy, stores, journal, token_keys, proof_keys, subject, reference, options, clock)
        return erasure.carried_out()


def listed_erasures(project: Project) -> list[dict[str, Any]]:
    """Returns all erasures, the oldest first, and how far they are; needs no key.

    Raises:
        StoreError: The journal cannot be read.
    """
    if not erasures_exist(project.erasures):
        return []
    with closing(open_erasures(project.erasures)) as journal:
        return [
            {
                "case": case.id,
                "state": case.state.value,
                "requested_at": format_instant(case.requested_at),
                "outputs": list(case.outputs),
            }
            for case in journal.cases()
        ]


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Keeps two erasures apart, which might seal what one of them holds back under the key of the other."""
    lock = os.open(project.root / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                "another erasure is at work in this project; wait until it is done; nothing was done", exit_code=2
            ) from None
        yield
    finally:
        os.close(lock)


class _Erasure:
    """One erasure, with all open that it needs."""

    def __init__(
        self,
        project: Project,
        policy: Policy,
        stores: Stores,
        journal: ErasureJournal,
        token_keys: TokenKeys,
        proof_keys: ProofKeys,
        subject: str,
        reference: bytes,
        options: EraseOptions,
        clock: Clock,
    ) -> None:
        self._project = project
        self._policy = policy
        self._stores = stores
        self._journal = journal
        self._proof_keys = proof_keys
        self._subject = subject
        self._reference = reference
        self._options = options
        self._clock = clock
        self._rules = marked_rules(policy)
        self._versions = token_keys.versions
        self._open_tokenizer = lambda rule, version: open_tokenizer(rule, token_keys, version=version)

    def carried_out(self) -> Certificate:
        """Goes through all states that are not done, and returns the certificate."""
        case = self._begun()
        self._shred_again()
        if case.has_reached(ErasureState.CERTIFIED) and list(self._problems()):
            case = self._journal.put(_back_to(case, ErasureState.FROZEN))
        case = self._with_lost(case)
        steps = {
            ErasureState.FROZEN: self._freeze,
            ErasureState.SHREDDED: self._shred,
            ErasureState.REDACTED: self._redact,
            ErasureState.VERIFIED: self._verify,
            ErasureState.CERTIFIED: self._certify,
        }
        for state, step in steps.items():
            if not case.has_reached(state):
                case = self._reached(state, step(case))
        assert case.certificate is not None, "a certified case has a certificate"
        return Certificate.model_validate_json(case.certificate)

    def _begun(self) -> ErasureCase:
        """Returns the case as it stands, begun now if there is none, with what is newly asked of it."""
        self._stores.data_keys.destroy([])  # a server that does not let this user do it says so before anything is done
        case = self._journal.case_of(self._reference)
        if case is None and self._options.resume:
            raise ConfigError("--resume: no erasure of this person was begun; leave the option out to begin one")
        named = tuple(dict.fromkeys(_absolute(out) for out in self._options.outputs))
        case = None if case is None else self._left_out(case)
        self._check_outputs(named if case is None else (*named, *self._unredacted(case)))
        if case is None:
            return self._requested(named)
        new = tuple(out for out in named if out not in case.outputs)
        if new:
            case = replace(case, account={**case.account, "outputs": [*case.outputs, *new]})
            case = self._journal.put(_back_to(case, ErasureState.SHREDDED))
        if not self._options.hold and (held := self._journal.held(self._reference)):
            release_held(self._stores, case, held, self._clock())
            forget_removed(self._project.data_keys, "data_keys")
            case = self._journal.put(_back_to(case, ErasureState.REDACTED), held=())
        return case

    def _with_lost(self, case: ErasureCase) -> ErasureCase:
        """Returns the case with what it held back and lost by now; a certificate that says otherwise is taken away."""
        lost = [each.domain for each in hold_states(self._project, now=self._clock()) if self._is_lost(each, case)]
        if lost == case.account.get("lost_holds", []):
            return case
        case = replace(case, account={**case.account, "lost_holds": lost})
        return self._journal.put(_back_to(case, ErasureState.REDACTED))

    @staticmethod
    def _is_lost(hold: HoldState, case: ErasureCase) -> bool:
        return hold.is_lost and hold.case == case.id

    def _shred_again(self) -> None:
        """Destroys keys of people erased before that a restored backup brought back."""
        erased = [case.subject for case in self._journal.cases() if case.has_reached(ErasureState.SHREDDED)]
        if back := list(self._stores.data_keys.keys_for(erased, create=False)):
            self._stores.data_keys.destroy(back)

    def _left_out(self, case: ErasureCase) -> ErasureCase:
        """Returns the case without outputs that are gone for good; its certificate will name them."""
        gone = [out for out in map(_absolute, self._options.without) if out in case.outputs]
        if not gone:
            return case
        kept = [out for out in case.outputs if out not in gone]
        left_out = sorted({*case.account.get("left_out", ()), *gone})
        case = replace(case, account={**case.account, "outputs": kept, "left_out": left_out})
        return self._journal.put(_back_to(case, ErasureState.REDACTED))

    def _requested(self, outputs: Sequence[str]) -> ErasureCase:
        now = self._clock()
        case = ErasureCase(
            id=f"e-{time.strftime('%Y%m%d', time.gmtime(now // 1_000_000))}-{secrets.token_hex(4)}",
            subject=self._reference,
            state=ErasureState.REQUESTED,
            requested_at=now,
            account={
                "outputs": list(outputs),
                "steps": {ErasureState.REQUESTED: format_instant(now)},
                "vault_entries": len(self._stores.vault.entries_of(self._reference)),
            },
        )
        held = []
        if self._options.hold and not self._is_erased():
            held = held_back(
                self._policy, self._stores, self._reference, case.id, until=self._options.hold_until, now=now
            )
        marks = SubjectMarks(self._stores.keys).of_subject(
            self._subject, self._rules, max(self._versions), self._open_tokenizer
        )
        return self._journal.put(case, marks=marks, held=held)

    def _reached(self, state: ErasureState, case: ErasureCase) -> ErasureCase:
        steps = {**case.account.get("steps", {}), state.value: format_instant(self._clock())}
        return self._journal.put(replace(case, state=state, account={**case.account, "steps": steps}))

    def _freeze(self, case: ErasureCase) -> ErasureCase:
        self._stores.ledger.record_erasure(self._reference, self._clock())
        return case

    def _shred(self, case: ErasureCase) -> ErasureCase:
        self._stores.data_keys.destroy([self._reference])
        self._stores.vault.remove_subject(self._reference)
        forget_removed(self._project.data_keys, "data_keys")
        forget_removed(self._project.vault, "vault")
        return case

    def _redact(self, case: ErasureCase) -> ErasureCase:
        if case.outputs:
            from .redact import open_redactor

            with open_redactor(self._project, now=self._clock(), clock=self._clock) as redactor:
                for out in case.outputs:
                    redactor.redact(out, all_rows=self._options.all_rows, needles=self._needles())
        return case

    def _verify(self, case: ErasureCase) -> ErasureCase:
        problems = list(self._problems())
        searched = {}
        if case.outputs:
            from .output_search import search_output
            from .output_state import is_being_written, sound_output

            for out in case.outputs:
                output = sound_output(self._project, out)
                subject = self._policy.datasets[output.manifest.dataset].subject
                found = search_output(output, self._needles(), subject)
                problems += [f"{out}: column {name} names the person in {n} rows" for name, n in found.found.items()]
                problems += [f"{out}: another run is writing to it"] if is_being_written(out) else []
                problems += [f"{out}: {path} is listed nowhere; remove it" for path in _unlisted(output)]
                letters, openable = self._letters(output)
                problems += [f"{out}: {openable} dead letters of the person can be opened"] if openable else []
                searched[out] = {
                    "run": output.manifest.run,
                    "manifest_sha256": hashlib.sha256(output.text).hexdigest(),
                    "rows": found.rows,
                    "removed": dict(output.manifest.removed or {}),
                    "letters": letters,
                }
        if problems:
            self._journal.put(_back_to(case, ErasureState.FROZEN))
            raise RunError(
                f"erasure {case.id}: is not done: {'; '.join(problems)}; see to that, and run it again",
                reason="erasure_unverified",
            )
        return replace(case, account={**case.account, "searched": searched})

    def _problems(self) -> Iterator[str]:
        """Yields what of the person the stores still hold."""
        self._stores.ledger.verify()
        if not self._is_erased():
            yield "the ledger does not say that the person is erased"
        if self._stores.data_keys.keys_for([self._reference], create=False):
            yield "the data keys still have the person's key"
        if self._stores.vault.entries_of(self._reference):
            yield "the vault still has entries of the person"
        if any(event.evidence is not None for event in self._stores.ledger.events_of(self._subject)):
            yield "evidence of the person's consent can still be opened"

    def _letters(self, output: Any) -> tuple[int, int]:
        """Returns how many dead letters of an output are the person's, and how many of them can be opened."""
        from .letters import open_stored, stored_letters

        theirs = openable = 0
        for letters in stored_letters(output):
            own = [each for each in letters if each.keys.subject == self._reference]
            theirs += len(own)
            opened = open_stored(own, self._stores.data_keys, self._project.tenant, at=self._clock()) if own else []
            openable += sum(each is not None for each in opened)
        return theirs, openable

    def _certify(self, case: ErasureCase) -> ErasureCase:
        position = self._stores.ledger.position()
        verified = self._stores.ledger.verify()
        outputs = tuple(CertifiedOutput(path=out, **case.account["searched"][out]) for out in case.outputs)
        certificate = made_certificate(
            case,
            self._policy,
            tenant=self._project.tenant,
            ledger=(position, verified.head),
            outputs=outputs,
            unnamed=unnamed_places(self._project, case.outputs),
            held=self._journal.held(self._reference),
            tells_id=self._needles().tells_id,
            keys=self._proof_keys,
            now=self._clock(),
        )
        return replace(case, certificate=certificate.dumps())

    def _is_erased(self) -> bool:
        import pyarrow as pa

        snapshot = self._stores.ledger.snapshot()
        return snapshot.is_erased(pa.array([self._reference], pa.binary(16)))

    def _needles(self) -> Needles:
        tokens = subject_tokens(self._subject, self._rules, self._versions, self._open_tokenizer)
        return Needles(subject=self._subject, tokens=tokens)

    def _unredacted(self, case: ErasureCase) -> tuple[str, ...]:
        return () if case.has_reached(ErasureState.REDACTED) else case.outputs

    def _check_outputs(self, outputs: Sequence[str]) -> None:
        """Refuses outputs that cannot be redacted, before anything is done."""
        if outputs:
            from .redact import check_redactable

            for out in outputs:
                check_redactable(self._project, self._policy, out, all_rows=self._options.all_rows)


def _back_to(case: ErasureCase, state: ErasureState) -> ErasureCase:
    """Returns a case with no later state than one; a certificate that no longer says all is taken away."""
    return replace(case, state=state, certificate=None) if case.has_reached(state) else case


def _unlisted(output: Any) -> list[str]:
    """Returns the files of rows in an object store that no manifest lists: old forms that could not be removed."""
    listed = {file.path for file in output.manifest.files}
    left = [path for path in output.folder.paths() if path.startswith("data/") and path not in listed]
    return sorted(left)[:3]


def _absolute(out: str) -> str:
    return str(Path(out.removeprefix(FILE_SCHEME)).resolve()) if is_local(out) else out
