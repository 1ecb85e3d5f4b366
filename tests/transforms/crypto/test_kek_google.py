"""A KEK in Cloud KMS: Google's own client over gRPC against a server that behaves like the service."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import google_crc32c
import grpc
import pytest
from consentry.schemas.errors import (
    ConfigError,
    IntegrityError,
    KekError,
    KekUnavailableError,
    SecretError,
)
from consentry.transforms.crypto.kek_google import GoogleKek
from consentry.transforms.crypto.kek_local import FileKek, PassphraseKek
from consentry.transforms.crypto.keyring import Keyring, KeySet
from consentry.transforms.crypto.kms_calls import _opened
from consentry.transforms.crypto.kms_endpoint import KmsEndpoint, kms_endpoint
from consentry.transforms.crypto.open_kek import open_kek
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from servers.cloud_kms import CloudKms, Fault, cloud_kms

SECRET = b"thirty-two bytes of a key to wrap"
UNAVAILABLE, EXHAUSTED = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED
KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
NOW = 1_793_000_000_000_000


@pytest.fixture(scope="module")
def running() -> Iterator[CloudKms]:
    with cloud_kms() as server:
        yield server


@pytest.fixture
def kms(running: CloudKms) -> CloudKms:
    """The server, as new."""
    running.keys.clear()
    running.faults.clear()
    running.calls.clear()
    running.plaintexts.clear()
    running.latency = 0.0
    return running


def kek_of(kms: CloudKms, uri: str, *, seconds: float = 60.0) -> GoogleKek:
    endpoint = KmsEndpoint(host=kms.address, is_local=True, seconds=seconds)
    return GoogleKek(uri.removeprefix("gcp-kms://"), endpoint=endpoint)


@pytest.fixture
def uri(kms: CloudKms) -> str:
    return kms.add_key("token")


@pytest.fixture
def kek(kms: CloudKms, uri: str) -> GoogleKek:
    return kek_of(kms, uri)


# ---- what it wraps


def test_it_unwraps_what_it_wrapped_with_one_call_each(kms: CloudKms, kek: GoogleKek, uri: str) -> None:
    blob = kek.wrap(SECRET, b"set")
    assert SECRET not in blob
    assert kek_of(kms, uri).unwrap(blob, b"set") == SECRET
    assert [call[0] for call in kms.calls] == ["Encrypt", "Decrypt"]


def test_the_service_never_sees_what_is_wrapped(kms: CloudKms, kek: GoogleKek) -> None:
    kek.unwrap(kek.wrap(SECRET, b"set"), b"set")
    assert kms.plaintexts and all(len(seen) == 32 for seen in kms.plaintexts)
    assert not any(SECRET[:16] in seen for seen in kms.plaintexts)


def test_sizes_beyond_the_limits_of_the_service_are_no_trouble(kek: GoogleKek) -> None:
    large, bound = os.urandom(200_000), os.urandom(200_000)
    assert kek.unwrap(kek.wrap(large, bound), bound) == large


@settings(max_examples=25, deadline=None)
@given(plaintext=st.binary(max_size=300), bound=st.binary(max_size=300), other=st.binary(max_size=300))
def test_whatever_is_wrapped_comes_back_for_the_same_associated_data_alone(
    running: CloudKms, plaintext: bytes, bound: bytes, other: bytes
) -> None:
    kek = kek_of(running, running.add_key("any"))
    blob = kek.wrap(plaintext, bound)
    assert kek.unwrap(blob, bound) == plaintext
    if other != bound:
        with pytest.raises(IntegrityError):
            kek.unwrap(blob, other)


def test_every_flipped_byte_of_a_blob_is_refused(kek: GoogleKek) -> None:
    blob = kek.wrap(SECRET, b"set")
    for position in range(len(blob)):
        changed = bytearray(blob)
        changed[position] ^= 0x20
        with pytest.raises((KekError, IntegrityError)) as caught:
            kek.unwrap(bytes(changed), b"set")
        assert not isinstance(caught.value, KekUnavailableError), position


def test_a_blob_cut_anywhere_is_refused(kek: GoogleKek) -> None:
    blob = kek.wrap(SECRET, b"set")
    for length in range(len(blob)):
        with pytest.raises((KekError, IntegrityError)):
            kek.unwrap(blob[:length], b"set")


def test_the_service_binds_the_associated_data_as_well(kms: CloudKms, kek: GoogleKek) -> None:
    blob = kek.wrap(SECRET, b"set")
    with pytest.raises(IntegrityError, match="it was changed, or encrypted by another key"):
        kek.unwrap(blob, b"other set")
    assert kms.count("Decrypt", status="INVALID_ARGUMENT") == 1


def test_another_key_of_the_service_is_named_without_a_call(kms: CloudKms, kek: GoogleKek) -> None:
    blob = kek_of(kms, kms.add_key("vault")).wrap(SECRET, b"set")
    kms.calls.clear()
    with pytest.raises(KekError, match=r"cryptoKeys/token: is not the key that wrapped it, which was .*/vault; check"):
        kek.unwrap(blob, b"set")
    assert kms.calls == []


def test_another_kind_of_kek_says_so(kek: GoogleKek) -> None:
    passphrase, file = PassphraseKek("correct horse"), FileKek(bytes(32))
    with pytest.raises(KekError, match="a key file wrapped it; check `kek`"):
        kek.unwrap(file.wrap(SECRET, b""), b"")
    with pytest.raises(KekError, match="a passphrase wrapped it"):
        kek.unwrap(passphrase.wrap(SECRET, b""), b"")
    for other in (passphrase, file):
        with pytest.raises(KekError, match="a Cloud KMS key wrapped it"):
            other.unwrap(kek.wrap(SECRET, b""), b"")


def test_a_rotated_key_still_opens_what_its_older_versions_wrapped(kms: CloudKms, kek: GoogleKek, uri: str) -> None:
    old = kek.wrap(SECRET, b"")
    kms.rotate(uri)
    new = kek.wrap(SECRET, b"")
    assert kek.unwrap(old, b"") == kek.unwrap(new, b"") == SECRET


def test_a_project_may_be_named_by_its_number_though_the_service_answers_with_its_id(kms: CloudKms, uri: str) -> None:
    by_number = uri.replace("tea-shop", "123456789012")
    kms.keys[by_number.removeprefix("gcp-kms://")] = kms.key(uri)
    kek = kek_of(kms, by_number)
    assert kek.unwrap(kek.wrap(SECRET, b"set"), b"set") == SECRET


# ---- checksums


def test_the_checksum_is_that_of_the_standard() -> None:
    # RFC 3720, appendix B.4
    assert google_crc32c.value(bytes(32)) == 0x8A9136AA
    assert google_crc32c.value(bytes([255]) * 32) == 0x62A8AB43
    assert google_crc32c.value(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("garble", ["plaintext", "aad", "answer", "flags", "name"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_garbled_encryption_is_asked_for_again(kms: CloudKms, kek: GoogleKek, garble: str, times: int) -> None:
    kms.faults.append(Fault(garble=garble, times=times, method="Encrypt"))
    blob = kek.wrap(SECRET, b"set")
    assert len(kms.calls) == times + 1
    assert kek.unwrap(blob, b"set") == SECRET


@pytest.mark.parametrize("garble", ["ciphertext", "aad", "answer"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_garbled_decryption_is_asked_for_again(kms: CloudKms, kek: GoogleKek, garble: str, times: int) -> None:
    blob = kek.wrap(SECRET, b"set")
    kms.faults.append(Fault(garble=garble, times=times, method="Decrypt"))
    assert kek.unwrap(blob, b"set") == SECRET
    assert len(kms.calls) == times + 2


@pytest.mark.parametrize(
    ("method", "garble"),
    [*(("Encrypt", each) for each in ("plaintext", "aad", "answer", "flags", "name")),
     *(("Decrypt", each) for each in ("ciphertext", "aad", "answer"))],
)  # fmt: skip
def test_what_stays_garbled_is_never_used(kms: CloudKms, kek: GoogleKek, method: str, garble: str) -> None:
    blob = kek.wrap(SECRET, b"set")
    kms.calls.clear()
    kms.faults.append(Fault(garble=garble, method=method))
    with pytest.raises(KekUnavailableError, match=r"checksums do not fit \(CRC32C\).*faulty proxy"):
        kek.wrap(SECRET, b"set") if method == "Encrypt" else kek.unwrap(blob, b"set")
    assert len(kms.calls) == 3, "a limited number of tries"


# ---- trying again


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"])
def test_an_answer_that_says_later_is_asked_for_again(kms: CloudKms, kek: GoogleKek, code: str) -> None:
    kms.faults.append(Fault(code=grpc.StatusCode[code], times=3))
    blob = kek.wrap(SECRET, b"set")
    kms.faults.append(Fault(code=grpc.StatusCode[code], times=3))
    assert kek.unwrap(blob, b"set") == SECRET
    assert len(kms.calls) == 8


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (UNAVAILABLE, "gives no answer, for up to 1 seconds; check network"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "gives no answer"),
        (EXHAUSTED, r"refuses for want of quota \(RESOURCE_EXHAUSTED\).*raise the project's quota"),
    ],
)
def test_an_outage_ends_the_call_when_its_time_is_over(
    kms: CloudKms, uri: str, code: grpc.StatusCode, says: str
) -> None:
    kms.faults.append(Fault(code=code))
    with pytest.raises(KekUnavailableError, match=says) as caught:
        kek_of(kms, uri, seconds=1).wrap(SECRET, b"set")
    assert (caught.value.exit_code, caught.value.reason) == (3, "kek_unavailable")


def test_a_server_that_is_gone_for_a_while_is_waited_for(kms: CloudKms, kek: GoogleKek, uri: str) -> None:
    blob = kek.wrap(SECRET, b"set")
    kms.stop()
    back = threading.Timer(1.5, kms.start)
    try:
        with pytest.raises(KekUnavailableError, match="gives no answer"):
            kek_of(kms, uri, seconds=0.5).unwrap(blob, b"set")
    finally:
        back.start()
    assert kek.unwrap(blob, b"set") == SECRET
    back.join()


def test_a_server_that_hangs_does_not_hold_up_the_caller_for_ever() -> None:
    with cloud_kms() as hanging:
        kek = kek_of(hanging, hanging.add_key("slow"), seconds=0.5)
        hanging.latency = 3.0
        with pytest.raises(KekUnavailableError, match="gives no answer"):
            kek.wrap(SECRET, b"set")
        assert hanging.calls == [], "gave up before there was an answer"


def test_a_server_that_takes_the_connection_and_says_nothing_does_not_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = KmsEndpoint(host=f"127.0.0.1:{mute.getsockname()[1]}", is_local=True, seconds=0.5)
        with pytest.raises(KekUnavailableError, match="gives no answer"):
            GoogleKek(KEY, endpoint=endpoint).wrap(SECRET, b"set")


def test_a_slow_answer_is_an_answer(kms: CloudKms, kek: GoogleKek) -> None:
    kms.latency = 0.3
    assert kek.unwrap(kek.wrap(SECRET, b"set"), b"set") == SECRET


# ---- refusals


def refusal(kms: CloudKms, kek: GoogleKek, method: str, change: Callable[[], object]) -> str:
    """What a call says that is refused after a change; that it is asked once, and that nothing of it is quoted."""
    blob = kek.wrap(SECRET, b"set")
    change()
    kms.calls.clear()
    with pytest.raises(KekError) as caught:
        kek.wrap(SECRET, b"set") if method == "Encrypt" else kek.unwrap(blob, b"set")
    assert [call[0] for call in kms.calls] == [method], "to ask again is no use"
    assert caught.value.__cause__ is None and caught.value.__context__ is None
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("method", ["Encrypt", "Decrypt"])
def test_a_missing_permission_names_itself_and_the_key(kms: CloudKms, kek: GoogleKek, uri: str, method: str) -> None:
    said = refusal(kms, kek, method, kms.key(uri).permissions.clear)
    assert f"cloudkms.cryptoKeyVersions.useTo{method}" in said
    assert f"roles/cloudkms.cryptoKey{method}er" in said
    assert uri.removeprefix("gcp-kms://") in said


@pytest.mark.parametrize("method", ["Encrypt", "Decrypt"])
@pytest.mark.parametrize(
    ("state", "says"),
    [
        ("DISABLED", "is disabled; enable it in Cloud KMS"),
        ("DESTROY_SCHEDULED", "about to be destroyed; restore it in Cloud KMS at once"),
        ("DESTROYED", "is destroyed; restore a keyring that another key wrapped"),
        ("IMPORT_FAILED", "cannot be used now (FAILED_PRECONDITION)"),
    ],
)
def test_a_version_that_is_not_enabled_says_what_to_do(
    kms: CloudKms, kek: GoogleKek, uri: str, method: str, state: str, says: str
) -> None:
    assert says in refusal(kms, kek, method, lambda: kms.set_state(uri, 1, state))


@pytest.mark.parametrize("method", ["Encrypt", "Decrypt"])
def test_a_key_for_another_purpose_is_told(kms: CloudKms, kek: GoogleKek, uri: str, method: str) -> None:
    said = refusal(kms, kek, method, lambda: setattr(kms.key(uri), "purpose", "ASYMMETRIC_SIGN"))
    assert "its purpose must be ENCRYPT_DECRYPT" in said


@pytest.mark.parametrize("method", ["Encrypt", "Decrypt"])
def test_a_key_that_is_not_there_is_told(kms: CloudKms, kek: GoogleKek, method: str) -> None:
    assert "there is no such key; check `kek`" in refusal(kms, kek, method, kms.keys.clear)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("UNAUTHENTICATED", "no credentials that Google accepts; run `gcloud auth"),
        ("UNIMPLEMENTED", "refuses to encrypt (UNIMPLEMENTED)"),
        ("INVALID_ARGUMENT", "refuses to encrypt (INVALID_ARGUMENT)"),
    ],
)
def test_other_refusals_are_told_by_their_code_and_not_in_the_words_of_a_stranger(
    kms: CloudKms, kek: GoogleKek, code: str, says: str
) -> None:
    said = refusal(kms, kek, "Encrypt", lambda: kms.faults.append(Fault(code=grpc.StatusCode[code])))
    assert says in said
    assert "told to fail" not in said


# ---- the keyring over it


def test_a_keyring_has_a_key_for_each_set_and_a_role_without_one_uses_the_others(kms: CloudKms) -> None:
    uris = {key_set: kms.add_key(key_set.value) for key_set in KeySet}
    keks = {key_set: kek_of(kms, uri) for key_set, uri in uris.items()}
    keyring = Keyring.create("shop", keks, now=NOW)
    kms.key(uris[KeySet.TOKEN]).permissions = set()
    assert keyring.unlock_vault(keks[KeySet.VAULT]).tenant == "shop"
    assert keyring.unlock_proof(keks[KeySet.PROOF]).primary == 1
    with pytest.raises(KekError, match=r"key set 'token': projects/tea-shop/.*/token: who asks may not decrypt"):
        keyring.unlock_token(keks[KeySet.TOKEN])
    with pytest.raises(IntegrityError, match="key set 'vault' was changed"):
        Keyring(tenant="another", sets=keyring.sets).unlock_vault(keks[KeySet.VAULT])


def test_an_outage_keeps_its_exit_code_through_the_keyring(kms: CloudKms, uri: str) -> None:
    kek = kek_of(kms, uri, seconds=0.5)
    keyring = Keyring.create("shop", dict.fromkeys(KeySet, kek), now=NOW)
    kms.faults.append(Fault(code=UNAVAILABLE))
    with pytest.raises(KekUnavailableError, match="key set 'vault'") as caught:
        keyring.unlock_vault(kek)
    assert (caught.value.exit_code, caught.value.reason) == (3, "kek_unavailable")


def test_fifty_versions_of_every_set_fit(kms: CloudKms, kek: GoogleKek) -> None:
    keyring = Keyring.create("shop", dict.fromkeys(KeySet, kek), now=NOW)
    for _ in range(50):
        keyring = keyring.rotate(KeySet.PROOF, kek, NOW)
    assert keyring.unlock_proof(kek).primary == 51


# ---- opening


def test_a_uri_opens_it_without_asking_anybody(kms: CloudKms, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSENTRY_KMS_ENDPOINT", kms.address)
    kek = open_kek(uri, Path())
    assert kms.calls == []
    assert kek.unwrap(kek.wrap(SECRET, b""), b"") == SECRET


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("gcp-kms://", "is no full name of a Cloud KMS key; write gcp-kms://projects/PROJECT/"),
        ("gcp-kms:" + KEY, "is no full name"),
        (f"gcp-kms://{KEY}/", "is no full name"),
        (f"gcp-kms://{KEY}?x=1", "is no full name"),
        (f"gcp-kms://{KEY}\n", "is no full name"),
        ("gcp-kms://projects/p/locations/l/keyRings/r", "is no full name"),
        (f"gcp-kms://{KEY}/cryptoKeyVersions/3", "names a version of a Cloud KMS key; name the key"),
    ],
)
def test_a_uri_of_another_form_is_refused(uri: str, says: str) -> None:
    with pytest.raises(ConfigError, match=f"kek: {says}"):
        open_kek(uri, Path())


@pytest.mark.parametrize("host", ["127.0.0.1:8085", "127.8.9.1:1", "[::1]:8085"])
def test_a_loopback_address_is_asked_in_plain_text(host: str) -> None:
    assert kms_endpoint({"CONSENTRY_KMS_ENDPOINT": host}) == KmsEndpoint(host=host, is_local=True)


@pytest.mark.parametrize("host", ["cloudkms-vpc.p.googleapis.com", "cloudkms.europe-west3.rep.googleapis.com:443"])
def test_a_host_of_google_is_asked_over_tls(host: str) -> None:
    assert kms_endpoint({"CONSENTRY_KMS_ENDPOINT": host}) == KmsEndpoint(host=host)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.7:8085", "192.168.0.1:443", "0.0.0.0:1", "localhost:8085", "kms.example.com", "googleapis.com",
        "evilgoogleapis.com", "cloudkms.googleapis.com.example.com", "cloudkms.googleapis.com:80", "127.0.0.1",
        "http://127.0.0.1:80", "127.0.0.1.example.com:80", "127.1:80", "user@cloudkms.googleapis.com", "[::2]:80",
        "127.0.0.1:80\n", "unix:/tmp/kms",
    ],
)  # fmt: skip
def test_any_other_place_gets_neither_keys_nor_credentials(host: str) -> None:
    with pytest.raises(
        ConfigError, match=r"CONSENTRY_KMS_ENDPOINT: is neither a host of googleapis\.com nor a loopback"
    ):
        kms_endpoint({"CONSENTRY_KMS_ENDPOINT": host})


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf", "1e9"])
def test_a_time_limit_is_a_number_of_seconds(text: str) -> None:
    assert kms_endpoint({"CONSENTRY_KMS_TIMEOUT": "90"}).seconds == 90
    assert kms_endpoint({"CONSENTRY_KMS_TIMEOUT": "", "CONSENTRY_KMS_ENDPOINT": ""}) == KmsEndpoint()
    with pytest.raises(ConfigError, match="CONSENTRY_KMS_TIMEOUT: is no number of seconds"):
        kms_endpoint({"CONSENTRY_KMS_TIMEOUT": text})


@pytest.mark.parametrize(
    ("host", "target"),
    [(None, "cloudkms.googleapis.com:443"), ("kms-x.p.googleapis.com", "kms-x.p.googleapis.com:443")],
)
def test_elsewhere_it_is_googles_client_with_the_credentials_of_the_machine(
    host: str | None, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account", "project_id": "tea-shop", "private_key": key.decode(), "private_key_id": "1",
        "client_email": "run@tea-shop.iam.gserviceaccount.com", "token_uri": "https://oauth2.googleapis.com/token",
    }  # fmt: skip
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    with _opened(KmsEndpoint(host=host)) as client:  # connects with the first call only
        assert client.transport._host == target
        assert client.transport._credentials.service_account_email == account["client_email"]


def test_no_credentials_are_told(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(KekError, match="no credentials that Google accepts"):
        GoogleKek(uri.removeprefix("gcp-kms://"), endpoint=KmsEndpoint()).wrap(SECRET, b"")


# ---- secrecy


def test_it_hides_itself_and_is_never_copied(kek: GoogleKek) -> None:
    assert repr(kek) == "<GoogleKek: key bytes hidden>"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(SecretError):
            leak(kek)


LOUD = """
import logging, os, sys
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
logging.getLogger("google").setLevel(logging.DEBUG)
from consentry.transforms.crypto.open_kek import open_kek
kek = open_kek(sys.argv[1], Path())
assert kek.unwrap(kek.wrap(b"canary of the set", b""), b"") == b"canary of the set"
print("done")
"""


def test_no_log_of_the_client_shows_what_it_sends(kms: CloudKms, uri: str) -> None:
    """Google's client can log whole messages; they hold the key of what is wrapped."""
    environment = {
        **os.environ, "CONSENTRY_KMS_ENDPOINT": kms.address, "GOOGLE_SDK_PYTHON_LOGGING_SCOPE": "google.cloud.kms_v1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LOUD, uri], env=environment, capture_output=True, timeout=60)
    assert done.stdout.strip() == b"done", done.stderr
    assert len(kms.plaintexts) == 1
    for seen in (*kms.plaintexts, b"canary"):
        for form in (seen, b64encode(seen), seen.hex().encode(), repr(seen).encode()[2:-1]):
            assert form not in done.stderr


def test_the_client_is_loaded_only_where_the_service_is_asked() -> None:
    script = (
        "import sys; from pathlib import Path; from consentry.transforms.crypto.open_kek import open_kek;"
        f"open_kek('gcp-kms://{KEY}', Path());"
        "print([name for name in ('google.cloud.kms_v1', 'grpc', 'google.auth', 'google.api_core') "
        "if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, text=True)
    assert done.stdout.strip() == "[]", done.stderr
