"""Proxies and certificates in the environment: used, left alone, or named with what to do."""

from __future__ import annotations

import importlib.util
import ssl
from pathlib import Path

import pytest

from pairuni_eval import network
from pairuni_eval.errors import UserError
from pairuni_eval.network import Route, check_environment, explained, is_loopback, route_to

FAR = "https://api.example.com/v1"
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*NAMES, *map(str.lower, NAMES), "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:8000/v1",
        "http://LOCALHOST./v1",
        "http://a.localhost",
        "http://127.0.0.1:1/",
        "http://127.8.9.10",
        "https://[::1]:8000/v1",
        "http://[::ffff:127.0.0.1]/",
    ],
)
def test_this_machine_is_never_behind_a_proxy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:7897/")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9\n")
    assert is_loopback(url)
    assert route_to(url) == Route()


@pytest.mark.parametrize("url", [FAR, "http://128.0.0.1", "http://localhost.example.com"])
def test_other_machines_are_others(url: str) -> None:
    assert not is_loopback(url)


def test_the_scheme_decides_then_all_and_lower_case_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    assert route_to(FAR) == Route("http://a:1", "ALL_PROXY")
    monkeypatch.setenv("HTTPS_PROXY", "b:2")
    assert route_to(FAR) == Route("http://b:2", "HTTPS_PROXY")
    monkeypatch.setenv("https_proxy", "http://c:3")
    assert route_to(FAR) == Route("http://c:3", "https_proxy")
    assert route_to("http://example.com") == Route("http://a:1", "ALL_PROXY")


@pytest.mark.parametrize(
    ("exempt", "url"),
    [
        ("*", FAR),
        ("example.com", FAR),
        (".example.com, other", FAR),
        ("10.0.0.0/8", "http://10.1.2.3/v1"),
        ("nonsense/x,fd00::/8", "http://[fd00::1]/v1"),
    ],
)
def test_no_proxy_is_heeded(exempt: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://a:1")
    assert route_to(url).variable == "ALL_PROXY"
    monkeypatch.setenv("NO_PROXY", exempt)
    assert route_to(url) == Route()


BROKEN = {
    "socks://127.0.0.1:7897/": (
        "'socks' is not a scheme",
        "export ALL_PROXY=socks5://127.0.0.1:7897",
    ),
    "ftp://host:1": ("'ftp' is not a scheme", "Go without a proxy: NO_PROXY=api.example.com"),
    "http://u:pass@host:1\n": ("holds a line end", "export ALL_PROXY=http://host:1"),
    "http://host name:1": ("holds a line end, a blank", "unset ALL_PROXY"),
    "http://": ("names no proxy", "http://HOST:PORT"),
    "http://host:port": ("names no proxy", "http://HOST:PORT"),
    "http://[::1": ("names no proxy", "http://HOST:PORT"),
}


@pytest.mark.parametrize(("value", "told"), BROKEN.items(), ids=range(len(BROKEN)))
def test_a_proxy_of_no_use_is_named_with_what_to_do(
    value: str, told: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", value)
    with pytest.raises(UserError) as refused:
        route_to(FAR)
    assert refused.value.message.startswith("ALL_PROXY ")
    assert told[0] in refused.value.message
    assert told[1] in str(refused.value.hint)
    whole = refused.value.message + str(refused.value.hint)
    assert "pass" not in whole
    assert "\n" not in whole


def test_socks_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://user:pass@127.0.0.1:7890")
    present = importlib.util.find_spec
    without = lambda name: None if name == "socksio" else present(name)  # noqa: E731
    monkeypatch.setattr(network, "find_spec", without)
    with pytest.raises(UserError) as refused:
        route_to(FAR)
    assert refused.value.message.startswith(
        "ALL_PROXY names a SOCKS proxy, socks5://127.0.0.1:7890"
    )
    assert "[socks]'" in str(refused.value.hint)
    monkeypatch.setattr(network, "find_spec", lambda name: True)
    assert route_to(FAR).proxy == "socks5://user:pass@127.0.0.1:7890"


def test_a_client_that_reads_every_variable_is_told_of_every_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "socks://a:1")
    assert route_to(FAR) == Route()  # which needs HTTPS_PROXY alone
    with pytest.raises(UserError, match="HTTP_PROXY names the proxy"):
        check_environment(FAR)


def test_certificates_that_cannot_be_read_are_named_where_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    for value, words in [
        (tmp_path / "none.pem", "does not exist"),
        (tmp_path / "empty.pem", "holds no certificates"),
        (tmp_path, "holds no certificates"),
    ]:
        monkeypatch.setenv("SSL_CERT_FILE", str(value))
        with pytest.raises(UserError, match="SSL_CERT_FILE names") as refused:
            route_to(FAR)
        assert words in refused.value.message
        assert refused.value.hint == "Correct the path, or unset SSL_CERT_FILE."
    near = "http://127.0.0.1:8000/v1"
    assert network.unused_certificates(near, route_to(near)) == ""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert network.unused_certificates(near, route_to(near)) == (
        "SSL_CERT_FILE names nothing that exists; http://127.0.0.1:8000/v1 does not need it."
    )
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    with pytest.raises(UserError, match="SSL_CERT_DIR"):
        route_to(FAR)


def test_certificates_of_use_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ssl.get_default_verify_paths().openssl_cafile
    if not Path(found).is_file():
        pytest.skip("this system keeps no file of certificates")
    monkeypatch.setenv("SSL_CERT_FILE", found)
    assert route_to(FAR) == Route()
    assert network.unused_certificates("http://127.0.0.1", Route()) == ""


class ConnectError(Exception):
    """Named as the clients name it."""


def test_a_connection_that_fails_behind_a_proxy_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConnectError), explained(FAR):
        raise ConnectError
    monkeypatch.setenv("HTTPS_PROXY", "http://user:pass@127.0.0.1:9")
    with pytest.raises(UserError) as refused, explained(FAR):
        try:
            raise ConnectError
        except ConnectError as failure:
            raise OSError("the hub was not reached") from failure
    assert refused.value.message == (
        "No connection to https://api.example.com/v1 through the proxy http://127.0.0.1:9 of "
        "HTTPS_PROXY."
    )
    assert refused.value.hint == (
        "Start the proxy, or go without it: NO_PROXY=api.example.com, or unset HTTPS_PROXY."
    )
    with pytest.raises(ValueError, match="ours"), explained(FAR):
        raise ValueError("ours")
