"""How often a peer showed a wrong token lately, and whether it has to wait. Pure: it reads no clock."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

MAX_PEERS: Final = 4096
"""Peers remembered; the one that was not heard of for longest is forgotten first."""
_IPV6_SITE_BITS: Final = 64


def peer_name(address: str) -> str:
    """What an address is counted under.

    An IPv6 address stands for its network of 64 bits, since whoever has one has all of them; an IPv4 address that is
    written as IPv6 counts as what it is. Anything else is a peer of its own.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, _IPV6_SITE_BITS), strict=False).network_address)


@dataclass(slots=True)
class _Record:
    failures_s: deque[float] = field(default_factory=deque)
    """When the failures within the window were."""
    refused_until_s: float = float("-inf")


class FailedAttempts:
    """Counts failures by peer and says who is refused, in bounded memory.

    After `limit` failures within `window_s` a peer is refused for `refusal_s`, whatever it shows; then it starts anew.
    Trying while refused neither counts nor prolongs it, so that those who share an address with a guesser get back in.

    Args:
        limit: failures at which a peer is refused; 0 for never.
        window_s: seconds within which they count.
        refusal_s: seconds for which the peer is refused.
        max_peers: peers remembered.
    """

    def __init__(self, *, limit: int, window_s: float, refusal_s: float, max_peers: int = MAX_PEERS) -> None:
        self._limit: Final = limit
        self._window_s: Final = window_s
        self._refusal_s: Final = refusal_s
        self._max_peers: Final = max_peers
        self._records: Final[OrderedDict[str, _Record]] = OrderedDict()

    def __len__(self) -> int:
        """Peers remembered."""
        return len(self._records)

    def refused_for_s(self, peer: str, now_s: float) -> float:
        """For how many more seconds the peer is refused; 0 where it is not."""
        record = self._records.get(peer)
        if record is None:
            return 0.0
        self._records.move_to_end(peer)
        return min(self._refusal_s, max(0.0, record.refused_until_s - now_s))

    def failed(self, peer: str, now_s: float) -> None:
        """Counts a failure of a peer that is not refused."""
        if not self._limit:
            return
        record = self._records.setdefault(peer, _Record())
        self._records.move_to_end(peer)
        while record.failures_s and record.failures_s[0] <= now_s - self._window_s:
            record.failures_s.popleft()
        record.failures_s.append(now_s)
        if len(record.failures_s) >= self._limit:
            record.failures_s.clear()
            record.refused_until_s = now_s + self._refusal_s
        while len(self._records) > self._max_peers:
            self._records.popitem(last=False)
