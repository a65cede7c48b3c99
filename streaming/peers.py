"""Who may connect where a protocol knows no tokens: addresses alone decide."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from streaming.assistant_settings import WyomingSettings
from streaming.auth import is_loopback
from streaming.errors import AuthorisationError, ServerError


class Peers:
    """Addresses and networks that are let in.

    Args:
        networks: IP addresses and networks; none to let everybody in.
    """

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks = tuple(ipaddress.ip_network(network) for network in networks)

    def check(self, address: str) -> None:
        """Returns if a peer of this IP address is let in; an IPv4 address that is written as IPv6 counts as what it is.

        Raises:
            AuthorisationError: it is not.
        """
        if not self._networks:
            return
        try:
            # A link-local address names its interface behind a percent sign.
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            raise AuthorisationError("the peer has no IP address: it cannot be let in") from None
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        if not any(parsed in network for network in self._networks):
            raise AuthorisationError("peers of this address are not let in: add it to [wyoming] peers")


def open_peers(settings: WyomingSettings) -> Peers:
    """The peers that `[wyoming]` names.

    Raises:
        ServerError: it names none although the server would be reachable from other machines.
    """
    if settings.enabled and not settings.peers and not is_loopback(settings.host):
        raise ServerError(
            f"[wyoming] host {settings.host} lets other machines in, and the protocol knows no tokens: name those that "
            "may come in [wyoming] peers, or set [wyoming] host to 127.0.0.1"
        )
    return Peers(settings.peers)
