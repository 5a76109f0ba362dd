"""How the environment sends us to an address: which proxy, which certificates, and what is wrong.

HTTP clients read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE and SSL_CERT_DIR when
they are made, and raise whatever comes to mind where one of them holds nonsense. Here they are read
first, so that a fault is a sentence with the variable's name. An address on this machine is never
reached through a proxy. Nothing here imports an HTTP client.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from pairuni_eval.errors import UserError

_SCHEMES = ("http", "https", "socks5", "socks5h")
_SOCKS = ("socks5", "socks5h")
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http", "https", "all")


class Route(NamedTuple):
    """How an address is reached.

    Attributes:
        proxy: Address of the proxy as clients take it, with its password; None without one.
        variable: The environment variable that names the proxy; None without one.
    """

    proxy: str | None = None
    variable: str | None = None

    @property
    def words(self) -> str:
        """What a failed connection should add: nothing, or whose proxy was in the way."""
        if self.proxy is None:
            return ""
        return f" through the proxy {without_secrets(self.proxy)} of {self.variable}"

    def hint(self, url: str) -> str:
        """What to do about a proxy that is in the way of `url`; empty without one."""
        if self.proxy is None:
            return ""
        host = urlsplit(url).hostname
        return f"Start the proxy, or go without it: NO_PROXY={host}, or unset {self.variable}."


def route_to(url: str) -> Route:
    """How to reach an address, once the variables that matter for it have been found usable.

    Args:
        url: An http or https address.

    Raises:
        UserError: naming the variable and what to do about it.
    """
    route = _proxy_for(url)
    if route.proxy is not None and route.variable is not None:
        _check_proxy(route.variable, route.proxy, urlsplit(url).hostname or "")
    if needs_certificates(url, route):
        for name in _CERTIFICATES:
            _check_certificates(name)
    return route


def check_environment(url: str) -> None:
    """Like `route_to`, for a client that reads every variable, whether `url` needs it or not.

    Raises:
        UserError: naming the variable and what to do about it.
    """
    route_to(url)
    for scheme, proxy in getproxies().items():
        if scheme in _PROXIES:
            _check_proxy(_variable(scheme), _completed(proxy), urlsplit(url).hostname or "")
    for name in _CERTIFICATES:
        _check_certificates(name)


def needs_certificates(url: str, route: Route) -> bool:
    """Whether a connection on the way is encrypted."""
    return "https" in (urlsplit(url).scheme, urlsplit(route.proxy or "").scheme)


def unused_certificates(url: str, route: Route) -> str:
    """A note on an SSL_CERT_FILE or SSL_CERT_DIR that names nothing, which does not matter here.

    Empty if there is nothing to say; what `url` needs is an error of `route_to` instead.
    """
    if needs_certificates(url, route):
        return ""
    missing = [name for name in _CERTIFICATES if os.environ.get(name) and not _names_place(name)]
    if not missing:
        return ""
    return f"{missing[0]} names nothing that exists; {without_secrets(url)} does not need it."


def _names_place(variable: str) -> bool:
    """Whether what a variable names exists."""
    value = os.environ[variable]
    places = value.split(os.pathsep) if variable == "SSL_CERT_DIR" else [value]
    return any(Path(place).exists() for place in places)


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine: localhost, 127.0.0.0/8, ::1."""
    host = (urlsplit(url).hostname or "").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def without_secrets(url: str) -> str:
    """An address without a user's name, a password, a query or a fragment."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that cannot be read"
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return _printable(f"{parts.scheme}://{host}{port}{parts.path}".rstrip("/"))


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Check the variables before the block, and name the proxy where a connection in it fails.

    For clients that are made elsewhere, e.g. the hub's: an `OSError` from the block or a client's
    own error of the connection becomes a sentence if a proxy is in force for `url`; else it passes.

    Raises:
        UserError: for a variable of no use, and for a connection that fails at the proxy.
    """
    check_environment(url)
    route = _proxy_for(url)
    try:
        yield
    except Exception as failure:
        if route.proxy is None or not _is_connection_failure(failure):
            raise
        raise UserError(
            f"No connection to {without_secrets(url)}{route.words}.", hint=route.hint(url)
        ) from failure


def _is_connection_failure(failure: BaseException) -> bool:
    """Whether a connection was not made: by the names that the clients give such errors."""
    chain: list[BaseException] = []
    one: BaseException | None = failure
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    return bool(names & {"ConnectError", "ProxyError", "ConnectTimeout", "ConnectionError"})


def _proxy_for(url: str) -> Route:
    parts = urlsplit(url)
    proxies = getproxies()
    scheme = next((one for one in (parts.scheme, "all") if proxies.get(one)), None)
    if scheme is None or is_loopback(url) or _bypassed(parts.hostname or ""):
        return Route()
    return Route(_completed(proxies[scheme]), _variable(scheme))


def _completed(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypassed(host: str) -> bool:
    """Whether NO_PROXY covers a host: names and their subdomains, addresses, and networks."""
    if proxy_bypass(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(getproxies().get("no", "")))


def _networks(text: str) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    for entry in text.split(","):
        if "/" in entry:
            try:
                yield ipaddress.ip_network(entry.strip(), strict=False)
            except ValueError:
                continue


def _variable(scheme: str) -> str:
    """The variable that Python takes a proxy from: lower case goes first."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the system's settings")


def _check_proxy(variable: str, proxy: str, host: str) -> None:
    """Whether a client can be made with a proxy."""
    around = f"go without a proxy: NO_PROXY={host}, or unset {variable}"
    if re.search(r"[\s\x00-\x1f\x7f]", proxy):
        raise UserError(
            f"{variable} holds a line end, a blank or another character that no address has.",
            hint=f"export {variable}={_printable(without_secrets(''.join(proxy.split())))}, "
            f"or {around}.",
        )
    scheme, address = proxy.partition("://")[0].lower(), without_secrets(proxy)
    if scheme not in _SCHEMES:
        better = _with_scheme(address, "socks5") if scheme.startswith("socks") else None
        offer = f"export {variable}={better}, or g" if better else "G"
        raise UserError(
            f"{variable} names the proxy {address}, but '{scheme}' is not a scheme of a proxy that "
            f"can be used; known: {', '.join(_SCHEMES)}.",
            hint=f"{offer}{around[1:]}.",
        )
    if not _has_host(proxy):
        raise UserError(
            f"{variable} names no proxy that can be reached: {address}.",
            hint=f"export {variable}=http://HOST:PORT, or {around}.",
        )
    if scheme in _SOCKS and find_spec("socksio") is None:
        raise UserError(
            f"{variable} names a SOCKS proxy, {address}, and the package for SOCKS is not "
            "installed.",
            hint=f"pip install '{_http_client()}[socks]', or {around}.",
        )


def _with_scheme(address: str, scheme: str) -> str:
    """An address under another scheme."""
    return f"{scheme}://{address.partition('://')[2]}"


def _has_host(proxy: str) -> bool:
    try:
        parts = urlsplit(proxy)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is not a number, brackets
        return False


def _http_client() -> str:
    """The package of the installed HTTP client, whose extra `socks` is meant."""
    return "httpx2" if find_spec("httpx2") is not None else "httpx"


def _check_certificates(variable: str) -> None:
    """Whether what SSL_CERT_FILE or SSL_CERT_DIR names can be read."""
    value = os.environ.get(variable)
    if not value:
        return
    hint = f"Correct the path, or unset {variable}."
    path = Path(value)
    if variable == "SSL_CERT_DIR":
        if not any(Path(one).is_dir() for one in value.split(os.pathsep)):
            raise UserError(
                f"{variable} names {_printable(value)}, which is not a folder.", hint=hint
            )
        return
    try:
        ssl.create_default_context(cafile=path)
    except FileNotFoundError as failure:
        raise UserError(
            f"{variable} names {_printable(value)}, which does not exist.", hint=hint
        ) from failure
    except (OSError, ValueError) as failure:  # ssl.SSLError is an OSError
        raise UserError(
            f"{variable} names {_printable(value)}, which holds no certificates that can be read.",
            hint=hint,
        ) from failure


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else " " for one in text).strip()
