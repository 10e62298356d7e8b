"""The form of a broker's address, as every command and the SDK take it.

Here because the SDK rides in other people's processes and brings no settings library along.
"""

import re
from typing import Final

PORT_MAX: Final = 65_535
_HOST: Final = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?\]")


def broker_problem(broker: str) -> str:
    """Return what is wrong with a bootstrap address, "" for nothing.

    Args:
        broker: HOST:PORT, or HOST for Kafka's usual port; IPv6 in brackets; several are separated
            by commas. The Kafka clients take anything, a port modulo 65,536, and wait for a broker
            there without an end.
    """
    for address in broker.split(","):
        host, colon, port = address.strip().rpartition(":")
        if not colon or address.strip().endswith("]"):
            host, port = address.strip(), "9092"
        if "://" in address:
            return f"{address.strip()!r}: no scheme; SPANLOOM_KAFKA_SECURITY_PROTOCOL says how"
        if not _HOST.fullmatch(host):
            return f"{address.strip()!r} is not HOST:PORT, IPv6 in brackets"
        if not port.isascii() or not port.isdigit() or not 0 < int(port[:9]) <= PORT_MAX:
            return f"{address.strip()!r}: a port is a number from 1 to {PORT_MAX}"
    return ""
