"""Who may do what in the cloud: the table of roles, evaluated, and the grants that are made from it, read."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "terraform"
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.tf")))
ALL = TEXT + "\n".join(path.read_text(encoding="utf-8") for path in sorted((HERE / "roles").glob("*.tf")))
DECRYPT = "roles/cloudkms.cryptoKeyDecrypter"
KEY_SETS = {"token", "vault", "proof"}
TABLES = ("subscriptions", "topics", "warehouse", "images", "buckets")


def resources() -> dict[tuple[str, str], str]:
    """The body of each resource by type and name; braces are balanced, strings with braces in them included."""
    found = {}
    for head in re.finditer(r'^resource "(\w+)" "(\w+)" \{$', TEXT, flags=re.M):
        end = TEXT.index("\n}\n", head.end())
        found[head[1], head[2]] = TEXT[head.end() : end]
    assert len(found) == len(re.findall(r"^resource ", TEXT, flags=re.M))
    return found


RESOURCES = resources()
LOCALS = re.findall(r"^locals \{\n(.*?)^\}", TEXT, flags=re.M | re.S)
GRANTS = {place: body for place, body in RESOURCES.items() if re.search(r"_iam_", place[0])}


@cache
def terraform() -> str:
    found = shutil.which("terraform") or shutil.which("tofu")
    if found is None:
        pytest.skip("NOT RUN: neither terraform nor tofu is installed, so the roles were not evaluated")
    return found


def run(folder: Path, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    # No settings of the person who runs this: a mirror or a token there is none of the test's.
    settings = {"TF_CLI_CONFIG_FILE": os.devnull, "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1"}
    command = [terraform(), f"-chdir={folder}", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **settings})
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[bool, bool], dict[str, Any]]:
    """What the table of roles comes to, for each way of using it."""
    folder = tmp_path_factory.mktemp("terraform") / "roles"
    shutil.copytree(HERE / "roles", folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
    run(folder, "init", "-backend=false", "-input=false")
    assert json.loads(run(folder, "validate", "-json").stdout)["valid"] is True
    found = {}
    for one_process, signs in product((False, True), repeat=2):
        given = (f"-var=launcher_is_worker={one_process}".lower(), f"-var=desk_signs_checkpoints={signs}".lower())
        run(folder, "apply", "-auto-approve", "-input=false", *given)
        outputs = json.loads(run(folder, "output", "-json").stdout)
        found[one_process, signs] = {name: each["value"] for name, each in outputs.items()}
    return found


def key_sets(outputs: dict[str, Any], identity: str) -> set[str]:
    return {each["key_set"] for each in outputs["key_grants"].values() if each["identity"] == identity}


def test_each_role_opens_the_key_sets_that_it_needs_and_no_others(evaluated: dict[Any, dict[str, Any]]) -> None:
    for (one_process, signs), outputs in evaluated.items():
        assert key_sets(outputs, "worker") == {"token", "vault"}
        assert key_sets(outputs, "launcher") == {"vault", "proof"} | ({"token"} if one_process else set())
        assert key_sets(outputs, "desk") == {"vault"} | ({"proof"} if signs else set())
        assert key_sets(outputs, "auditor") == set()
        assert key_sets(outputs, "keeper") == KEY_SETS


def test_only_the_keeper_of_keys_may_wrap(evaluated: dict[Any, dict[str, Any]]) -> None:
    for outputs in evaluated.values():
        for grant in outputs["key_grants"].values():
            assert grant["role"] == DECRYPT or grant["identity"] == "keeper"
            assert grant["role"] in (DECRYPT, "roles/cloudkms.cryptoKeyEncrypterDecrypter")


def test_the_desk_and_the_keeper_have_nothing_but_keys(evaluated: dict[Any, dict[str, Any]]) -> None:
    for outputs in evaluated.values():
        others = {identity for table in TABLES for identity in outputs[table]}
        others |= {each["identity"] for each in outputs["project_grants"].values()}
        assert others == {"launcher", "worker", "auditor"}


def test_an_auditor_only_reads(evaluated: dict[Any, dict[str, Any]]) -> None:
    for outputs in evaluated.values():
        roles = {
            outputs[table].get("auditor") for table in ("subscriptions", "topics", "warehouse", "images", "buckets")
        }
        roles |= {each["role"] for each in outputs["project_grants"].values() if each["identity"] == "auditor"}
        assert {*filter(None, roles)} == {
            "roles/bigquery.dataViewer",
            "roles/storage.objectViewer",
            "roles/bigquery.jobUser",
            "roles/dataflow.viewer",
        }


def test_no_role_is_a_basic_one_or_rules_keys(evaluated: dict[Any, dict[str, Any]]) -> None:
    for outputs in evaluated.values():
        for each in outputs["project_grants"].values():
            assert not re.search(r"cloudkms|[aA]dmin|\.owner|\.editor", each["role"])


def test_nothing_is_granted_to_everybody_and_no_basic_role_to_anybody() -> None:
    assert not re.search(r"allUsers|allAuthenticatedUsers|roles/(owner|editor|viewer)\b", ALL)
    assert not re.search(r"roles/cloudkms\.admin|roles/iam\.serviceAccountTokenCreator|roles/[\w.]*\.admin\b", ALL)


def test_keys_are_granted_one_by_one() -> None:
    keys = {place: body for place, body in GRANTS.items() if "kms" in place[0]}
    assert set(keys) == {("google_kms_crypto_key_iam_member", "key_set")}
    (body,) = keys.values()
    assert "for_each = module.roles.key_grants" in body
    assert "google_kms_crypto_key.key_set[each.value.key_set].id" in body
    assert "cloudkms" not in re.sub(r"cloudkms\.googleapis\.com", "", TEXT), "a grant that the table does not have"


def test_no_grant_takes_away_those_of_others() -> None:
    for kind, _ in GRANTS:
        assert kind.endswith(("_iam_member", "_iam_audit_config")), kind


@pytest.mark.parametrize("place", sorted(GRANTS), ids=".".join)
def test_a_grant_names_one_account_of_ours_or_of_the_service(place: tuple[str, str]) -> None:
    for member in re.findall(r"^  member\s+= (.+)$", GRANTS[place], flags=re.M):
        assert re.fullmatch(
            r'google_service_account\.identity\[("\w+"|each\.(key|value\.identity|value\[0\]))\]\.member'
            r'|"serviceAccount:service-\$\{data\.google_project\.this\.number\}@gcp-sa-pubsub\.iam\.gserviceaccount\.com"',
            member,
        )


@pytest.mark.parametrize("place", [("google_kms_key_ring", "consentry"), ("google_kms_crypto_key", "key_set")])
def test_keys_cannot_be_destroyed_by_mistake(place: tuple[str, str]) -> None:
    assert re.search(r"lifecycle \{\s+prevent_destroy = true\s+\}", RESOURCES[place])


def test_each_key_set_has_a_key_that_rotates_and_dies_slowly() -> None:
    body = RESOURCES["google_kms_crypto_key", "key_set"]
    (names,) = re.findall(r"for_each = toset\((\[.+\])\)", body)
    assert set(json.loads(names)) == KEY_SETS
    assert re.search(r"rotation_period\s+= var\.rotation_period", body)
    (delay,) = re.findall(r'destroy_scheduled_duration = "(\d+)s"', body)
    assert int(delay) >= 30 * 86400


def test_no_key_of_a_service_account_is_made() -> None:
    assert not [kind for kind, _ in RESOURCES if kind == "google_service_account_key"]


def test_subscriptions_keep_order_and_set_aside_what_cannot_be_delivered() -> None:
    body = RESOURCES["google_pubsub_subscription", "incoming"]
    assert re.search(r"enable_message_ordering\s+= true", body)
    assert re.search(
        r"dead_letter_policy \{\s+dead_letter_topic\s+= google_pubsub_topic\.undelivered\[each\.key\]\.id", body
    )
    assert re.search(r"retain_acked_messages\s+= false", body)
    # Without these two Pub/Sub itself may not set anything aside.
    assert ("google_pubsub_topic_iam_member", "undelivered") in RESOURCES
    assert ("google_pubsub_subscription_iam_member", "undelivered") in RESOURCES


def test_every_use_of_a_key_is_noted() -> None:
    body = RESOURCES["google_project_iam_audit_config", "keys"]
    assert set(re.findall(r'log_type = "(\w+)"', body)) == {"ADMIN_READ", "DATA_READ", "DATA_WRITE"}


def test_the_files_are_formatted_and_whole() -> None:
    done = run(HERE, "fmt", "-check", "-recursive", "-diff", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_name_that_is_used_is_declared() -> None:
    declared = {f"var.{name}" for name in re.findall(r'^variable "(\w+)"', TEXT, flags=re.M)}
    declared |= {f"{kind}.{name}" for kind, name in RESOURCES} | {"data.google_project"}
    declared |= {f"local.{name}" for name in re.findall(r"^  (\w+)\s+= ", "".join(LOCALS), flags=re.M)}
    outputs = re.findall(r'^output "(\w+)"', (HERE / "roles" / "outputs.tf").read_text(encoding="utf-8"), flags=re.M)
    declared |= {f"module.roles.{name}" for name in outputs}
    used = re.findall(r"\b(?:var|local|data|google_\w+)\.\w+|\bmodule\.roles\.\w+", re.sub(r"#.*", "", TEXT))
    assert len(used) > 30
    assert set(used) - declared == set()
    assert {name for name in declared if name.startswith(("var.", "local."))} - set(used) == set()


def test_terraform_reads_all_of_it(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    run(folder, "get")
    assert "hashicorp/google" in run(folder, "providers").stdout


def test_terraform_finds_no_fault(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    done = run(folder, "init", "-backend=false", "-input=false", "-no-color", check=False)
    if done.returncode != 0:
        assert "Failed to query available provider packages" in done.stderr, done.stderr
        pytest.skip("NOT RUN: `terraform validate` needs the provider hashicorp/google, which cannot be fetched here")
    found = json.loads(run(folder, "validate", "-json", check=False).stdout)
    assert found["valid"] is True and found["warning_count"] == 0, found["diagnostics"]


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(HERE, folder / "terraform", ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")))
