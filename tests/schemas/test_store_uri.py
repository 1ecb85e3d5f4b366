"""URIs of stores say where a store is, never how to get in."""

from __future__ import annotations

import pytest
from consentry.schemas.store_uri import of_tenant, uri_problem, without_tenant
from hypothesis import given
from hypothesis import strategies as st

SOUND = [
    "sqlite:vault.db",
    "sqlite:/srv/a b/ü?.db",
    "postgresql://db.internal/shop",
    "postgresql://shop_writer@db.internal:5433/shop?sslmode=verify-full&sslrootcert=/etc/ca.pem",
    "postgresql://one:5432,two:5433/shop?target_session_attrs=read-write",
    "postgresql:///shop?host=/var/run/postgresql",
    "postgresql:///?service=consentry",
    "postgresql://[2001:db8::1]:5432/shop?passfile=/run/secrets/pgpass",
]
WITH_A_PASSWORD = [
    "postgresql://shop:hunter@db/shop",
    "postgresql://shop:@db/shop",
    "postgresql://shop:hun%40ter@db/shop",
    "postgresql://shop:hun@ter@db/shop",
    "postgresql://db/shop?user=shop&password=hunter",
    "postgresql://db/shop?pass%77ord=hunter",
    "postgresql://db/shop?PASSWORD=hunter",
    "postgresql://db/shop?sslpassword=hunter",
    "postgresql:///shop?password=",
]
NO_URIS = [
    "postgresql://shop:hun/ter@db/shop",
    "postgresql://shop:hun#ter@db/shop",
    "postgresql://db/shop#hunter",
    "postgresql://shop:hun?ter@db/shop",
    "postgresql://db/shop?hunter",
    "postgresql://[db/shop",
]
OTHERS = ["", "sqlite:", "vault.db", "postgresql:", "postgresql:shop", "postgres://db/shop", "mysql://u:hunter@h/x"]


@pytest.mark.parametrize("uri", SOUND)
def test_a_sound_uri_has_no_problem_whoevers_store_it_names(uri: str) -> None:
    assert uri_problem(uri) is None
    assert uri_problem(of_tenant(uri, "shop")) is None


@pytest.mark.parametrize("uri", WITH_A_PASSWORD)
def test_a_password_is_refused_and_told_where_it_belongs(uri: str) -> None:
    problem = uri_problem(uri)
    assert problem is not None and problem.rule == "holds a password"
    assert "PGPASSWORD" in problem.hint and "~/.pgpass" in problem.hint and "service file" in problem.hint


@pytest.mark.parametrize("uri", NO_URIS)
def test_what_could_hide_a_password_from_the_reader_is_refused(uri: str) -> None:
    problem = uri_problem(uri)
    assert problem is not None and "hunter" not in problem.rule + problem.hint


@pytest.mark.parametrize("uri", OTHERS)
def test_other_kinds_of_stores_are_refused(uri: str) -> None:
    problem = uri_problem(uri)
    assert problem is not None and problem.rule == "unknown kind of store"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), st.text(max_size=8))
def test_no_password_gets_through_whatever_it_is_made_of(password: str, after: str) -> None:
    assert uri_problem(f"postgresql://shop:{password}@db/shop{after}") is not None


@pytest.mark.parametrize("uri", [uri for uri in SOUND if uri.startswith("postgresql:")])
@pytest.mark.parametrize("tenant", ["shop", "a.b-c_D", "x" * 64])
def test_the_tenant_of_a_uri_comes_back_and_the_rest_is_as_it_was(uri: str, tenant: str) -> None:
    named = of_tenant(uri, tenant)
    assert without_tenant(named) == (uri.removesuffix("?"), tenant)
    assert of_tenant(named, "another") == named
    assert without_tenant(uri) == (uri, None)


def test_a_file_has_no_tenant() -> None:
    assert of_tenant("sqlite:vault.db", "shop") == "sqlite:vault.db"
