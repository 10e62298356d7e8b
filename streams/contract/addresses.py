"""Which addresses and hosts may be called: public ones, and what the configuration opens.

Pure: an address is judged as it will be connected to, whatever name or spelling led to it.
Invariant: another spelling of an IPv4 address (mapped, compatible, NAT64, 6to4) is judged as that
address.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.ip_network("::/96")


def inner_address(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 address is another spelling of, else itself.

    Mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), NAT64 and 6to4 addresses reach the IPv4 one.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def address_allowed(address: IpAddress, networks: Iterable[str]) -> bool:
    """Say whether an address may be connected to: a public one, or one of the networks given."""
    inner = inner_address(address)
    for text in networks:
        network = ipaddress.ip_network(text, strict=False) if _is_network(text) else None
        if network is not None and (inner in network or address in network):
            return True
    if inner.is_multicast or inner.is_unspecified or inner.is_reserved or inner.is_link_local:
        return False
    return inner.is_global and not inner.is_private and not inner.is_loopback


def host_allowed(host: str, hosts: Iterable[str]) -> bool:
    """Say whether a host is in a list; `*.example.org` stands for every name below that one."""
    names = tuple(hosts)
    if not names:
        return True
    name = host.lower().rstrip(".")
    for one in names:
        allowed = one.lower().rstrip(".")
        if name == allowed or (allowed.startswith("*.") and name.endswith(allowed[1:])):
            return True
    return False


def _is_network(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
