"""The manifests of Flink on Kubernetes: every pod is confined, every secret is a reference, every door has a rule."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from consentry.schemas.project import KEY_SETS, read_project

ROOT = Path(__file__).parents[2]
HERE = ROOT / "deploy" / "kubernetes"
NOBODY = 9999


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each is not None]


FILES = sorted(path for path in HERE.glob("*.yaml") if path.name != "kustomization.yaml")
OBJECTS = {(each["kind"], each["metadata"]["name"]): each for path in FILES for each in documents(path)}
PODS = {
    name: each["spec"]["template"]
    for (kind, name), each in OBJECTS.items()
    if kind in ("Deployment", "Job", "StatefulSet", "DaemonSet", "CronJob")
}
CONTAINERS = {
    f"{pod}/{container['name']}": (pod, container)
    for pod, template in PODS.items()
    for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"])
}
KEYS_OF = {"taskmanager/worker-pool": {"token", "vault"}, "stream-orders/launcher": {"vault", "proof"}}


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for (found, _), each in OBJECTS.items() if found == kind]


def scalars(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, each in value.items():
            yield str(name)
            yield from scalars(each)
    elif isinstance(value, list):
        for each in value:
            yield from scalars(each)
    else:
        yield str(value)


def test_all_parts_are_there() -> None:
    assert set(PODS) == {"jobmanager", "taskmanager", "jobserver", "stream-orders"}
    listed = yaml.safe_load((HERE / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {*listed, "stream-job.yaml"} == {path.name for path in FILES}


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_is_not_root_and_shares_nothing_with_its_machine(pod: str) -> None:
    spec = PODS[pod]["spec"]
    context = spec["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == NOBODY
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & set(spec)
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_change_nothing_and_gain_nothing(name: str) -> None:
    _, container = CONTAINERS[name]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    for bounds in (container["resources"]["requests"], container["resources"]["limits"]):
        assert set(bounds) == {"cpu", "memory", "ephemeral-storage"}
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_a_container_mounts_exists(name: str) -> None:
    pod, container = CONTAINERS[name]
    volumes = {volume["name"] for volume in PODS[pod]["spec"]["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
    assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, "nowhere to write"
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for volume in PODS[pod]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims <= {name for kind, name in OBJECTS if kind == "PersistentVolumeClaim"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_has_the_key_sets_of_its_role_alone(name: str) -> None:
    _, container = CONTAINERS[name]
    found = {
        variable["valueFrom"]["secretKeyRef"]["name"].removeprefix("consentry-kek-")
        for variable in container.get("env", [])
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name", "").startswith("consentry-kek-")
    }
    assert found == KEYS_OF.get(name, set())


def test_secrets_are_references_alone() -> None:
    assert not of_kind("Secret")
    for _, container in CONTAINERS.values():
        for variable in container.get("env", []):
            secret = re.search(r"PASS|SECRET|TOKEN|KEY", variable["name"])
            assert not secret or set(variable["valueFrom"]) == {"secretKeyRef"}, variable["name"]
        words = " ".join(map(str, [*container.get("command", []), *container.get("args", [])]))
        assert not re.search(r"(?i)passw|passphrase|secret", words)
    assert not [text for each in OBJECTS.values() for text in scalars(each) if re.search(r"://[^/\s]*:[^/\s]*@", text)]


def test_the_project_can_be_read_and_names_no_password(tmp_path: Path) -> None:
    text = OBJECTS["ConfigMap", "consentry-project"]["data"]["consentry.yaml"]
    (tmp_path / "consentry.yaml").write_text(text, encoding="utf-8")
    project = read_project(tmp_path / "consentry.yaml")
    named = {uri.removeprefix("passphrase:env:") for uri in project.kek.values()}
    given = {
        variable["name"]
        for _, container in CONTAINERS.values()
        for variable in container.get("env", [])
        if "PASSPHRASE" in variable["name"]
    }
    assert set(project.kek) == set(KEY_SETS) and named == given
    assert all(
        "sslmode=verify-full" in getattr(project, name) for name in ("vault", "data_keys", "ledger", "access_log")
    )


def test_workers_are_reached_within_their_pod_alone() -> None:
    arguments = CONTAINERS["stream-orders/launcher"][1]["args"]
    assert {"--environment_type=EXTERNAL", "--environment_config=localhost:50000"} <= set(arguments)
    assert "--finish_bundle_before_checkpointing" in arguments
    pool = CONTAINERS["taskmanager/worker-pool"][1]
    assert pool["command"][-2:] == ["apache_beam.runners.worker.worker_pool_main", "--service_port=50000"]
    assert not [port for each in of_kind("Service") for port in each["spec"]["ports"] if port["port"] == 50000]
    opened = [
        port["port"]
        for each in of_kind("NetworkPolicy")
        for rule in each["spec"].get("ingress", [])
        for port in rule["ports"]
    ]
    assert 50000 not in opened


def test_nothing_is_open_that_no_rule_opens() -> None:
    default = OBJECTS["NetworkPolicy", "nothing-by-default"]["spec"]
    assert default == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for each in of_kind("NetworkPolicy"):
        for rule in each["spec"].get("ingress", []):
            assert rule["from"] and rule["ports"]
        for rule in each["spec"].get("egress", []):
            assert rule["ports"]
            assert "to" in rule or each["metadata"]["name"] == "api-server"
    assert not [each for each in of_kind("Service") if each["spec"].get("type", "ClusterIP") != "ClusterIP"]
    assert not of_kind("Ingress")


def covers(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


@pytest.mark.parametrize("pod", PODS)
def test_each_pod_has_rules_of_its_own(pod: str) -> None:
    labels = PODS[pod]["metadata"]["labels"]
    selectors = [each["spec"]["podSelector"].get("matchLabels") for each in of_kind("NetworkPolicy")]
    assert [selector for selector in selectors if selector and covers(selector, labels)]


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "Deployment"])
def test_what_selects_pods_finds_some(kind: str) -> None:
    for each in of_kind(kind):
        selector = each["spec"]["selector"]
        selector = selector if kind == "Service" else selector["matchLabels"]
        assert [pod for pod in PODS.values() if covers(selector, pod["metadata"]["labels"])], each["metadata"]["name"]


def test_work_in_progress_survives_the_draining_of_a_machine() -> None:
    budgets = {each["metadata"]["name"]: each["spec"] for each in of_kind("PodDisruptionBudget")}
    assert budgets["taskmanager"]["maxUnavailable"] == 1
    assert OBJECTS["Deployment", "taskmanager"]["spec"]["replicas"] > 1
    assert OBJECTS["Job", "stream-orders"]["spec"]["backoffLimit"] == 0


def test_flink_keeps_state_and_takes_no_programs() -> None:
    config = yaml.safe_load(OBJECTS["ConfigMap", "flink-config"]["data"]["config.yaml"])
    assert config["web.submit.enable"] is False
    assert config["classloader.resolve-order"] == "parent-first"
    assert config["execution.checkpointing.mode"] == "EXACTLY_ONCE"
    for name in ("state.checkpoints.dir", "state.savepoints.dir", "high-availability.storageDir"):
        assert config[name].startswith("file:///state/")
    assert not {name for name in config if "password" in name}


def test_flink_listens_where_the_rules_of_the_network_let_it_be_reached() -> None:
    config = yaml.safe_load(OBJECTS["ConfigMap", "flink-config"]["data"]["config.yaml"])
    fixed = {value for name, value in config.items() if name.endswith(".port")}
    for name in (
        "high-availability.jobmanager.port",
        "blob.server.port",
        "taskmanager.rpc.port",
        "taskmanager.data.port",
    ):
        assert config[name] > 0
    opened = {
        port["port"]
        for each in of_kind("NetworkPolicy")
        for rule in each["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    assert fixed <= opened
    assert config["high-availability.jobmanager.port"] == config["jobmanager.rpc.port"]


def test_the_api_server_is_for_the_election_of_a_leader() -> None:
    rules = [rule for each in of_kind("Role") for rule in each["rules"]]
    assert [(rule["apiGroups"], rule["resources"]) for rule in rules] == [([""], ["configmaps"])] * 2
    assert not of_kind("ClusterRole") and not of_kind("ClusterRoleBinding")
    bound = {
        subject["name"]: {verb for rule in OBJECTS["Role", each["roleRef"]["name"]]["rules"] for verb in rule["verbs"]}
        for each in of_kind("RoleBinding")
        for subject in each["subjects"]
    }
    assert set(bound) == {"jobmanager", "taskmanager"}
    assert bound["taskmanager"] == {"get", "list", "watch"}
    tokens = {
        name
        for name, (_, each) in CONTAINERS.items()
        if "api-access" in {mount["name"] for mount in each["volumeMounts"]}
    }
    assert tokens == {"jobmanager/jobmanager", "taskmanager/taskmanager"}
    labels = OBJECTS["Namespace", "consentry"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_kustomize_puts_them_together() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT RUN: kubectl is not installed, so kustomize did not read the manifests")
    done = subprocess.run([kubectl, "kustomize", HERE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert {each["metadata"].get("namespace", "consentry") for each in made} == {"consentry"}
    images = re.findall(r"image: (\S+)", done.stdout)
    assert images and all(re.search(r":[\w.-]*\d[\w.-]*$|@sha256:", image) for image in images)
