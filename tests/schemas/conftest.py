"""The policy and the project of the outer contracts, word for word, and ways to read and break them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from consentry.schemas.errors import PolicyError
from consentry.schemas.policy import Policy
from consentry.schemas.policy_file import read_policy

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def contract_policy() -> str:
    return (DATA / "contract_policy.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def contract_project() -> str:
    return (DATA / "contract_consentry.yaml").read_text(encoding="utf-8")


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str | bytes], Policy]:
    """Reads a text as a policy file."""

    def reading(text: str | bytes) -> Policy:
        path = tmp_path / "policy.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_policy(path)

    return reading


@pytest.fixture
def problems(read: Callable[[str | bytes], Policy], tmp_path: Path) -> Callable[[str | bytes], list[str]]:
    """Reads a text that is no sound policy and returns its problems, without the folder."""

    def found(text: str | bytes) -> list[str]:
        with pytest.raises(PolicyError) as caught:
            read(text)
        assert str(caught.value) == "\n".join(map(str, caught.value.problems))
        return [str(problem).replace(f"{tmp_path}/", "") for problem in caught.value.problems]

    return found


@pytest.fixture
def changed(contract_policy: str, read: Callable[[str | bytes], Policy]) -> Callable[..., Policy]:
    """Reads the policy of the contracts with some passages replaced."""

    def reading(*changes: tuple[str, str]) -> Policy:
        return read(_replaced(contract_policy, changes))

    return reading


@pytest.fixture
def broken(contract_policy: str, problems: Callable[[str | bytes], list[str]]) -> Callable[..., list[str]]:
    """Returns the problems of the policy of the contracts with some passages replaced."""

    def found(*changes: tuple[str, str]) -> list[str]:
        return problems(_replaced(contract_policy, changes))

    return found


def _replaced(text: str, changes: tuple[tuple[str, str], ...]) -> str:
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text
