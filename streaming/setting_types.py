"""What values of settings are made of, shared by all sections."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

_MAX_TEXT: Final = 255
MAX_PATH: Final = 4096
_ORIGIN: Final = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>\d{1,5}))?")
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


def _as_browsers_write_it(origin: str) -> str:
    written = _ORIGIN.fullmatch(origin)
    if written is None or (written["port"] and written["port"] == _DEFAULT_PORTS.get(written["scheme"])):
        raise ValueError(
            "an origin is written as browsers do: scheme, :// and host in lower case, a port only where it is not the "
            "scheme's own, no path, such as https://app.example"
        )
    return origin


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("an IP address is needed, such as 10.0.0.2") from None


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("an IP address or network is needed, such as 10.0.0.2 or 192.168.1.0/24") from None


Port = Annotated[int, Field(ge=0, le=65535)]
PathText = Annotated[str, Field(max_length=MAX_PATH)]
Text = Annotated[str, Field(max_length=_MAX_TEXT)]
Host = Annotated[str, Field(min_length=1, max_length=_MAX_TEXT)]
Levels = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$", max_length=_MAX_TEXT)]
"""First levels of MQTT topics."""
Origin = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_as_browsers_write_it)]
Address = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_address)]
Network = Annotated[str, Field(max_length=_MAX_TEXT), AfterValidator(_network)]
