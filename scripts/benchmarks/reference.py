"""The C daemon's figures, in M.

Source: vpopmaild 5.6.13 under ``tcpserver -vHRD``, built for cdb and built for MySQL, client and
server on one machine with 2 cores and M = 8,116 a second. Rates are per second divided by M, times
are seconds multiplied by M; of a range measured, what its author gives in M, or its middle. The C
daemon forces nothing to the disk.
"""

from collections.abc import Mapping
from typing import NamedTuple


class InM(NamedTuple):
    """What the two builds did."""

    cdb: float
    mysql: float


# fmt: off
C_IN_M: Mapping[str, Mapping[int | None, InM]] = {
    "login-md5-1": {None: InM(0.078, 0.0205)},
    "login-md5-8": {None: InM(0.159, 0.0435)},
    "login-md5-32": {None: InM(0.148, 0.0467)},
    "login-sha512-1": {None: InM(0.036, 0.0154)},
    "login-sha512-8": {None: InM(0.072, 0.034)},
    "login-sha512-32": {None: InM(0.079, 0.0339)},
    "user_info": {100: InM(0.69, 0.333), 10_000: InM(0.64, 0.357)},
    "list_users-expanded": {10_000: InM(12_000, 13_100)},
    "list_users-compact": {10_000: InM(4_300, 5_000)},
    "list_users-last-page": {10_000: InM(1_200, 1_620)},
    "user_count": {10_000: InM(700, 930)},
    "add_user": {0: InM(37, 38), 1_000: InM(80, 39), 10_000: InM(1_900, 32)},
    "mod_user": {0: InM(7.3, 4.1), 1_000: InM(31, 4.1), 10_000: InM(990, 4.1)},
    "del_user": {0: InM(10.6, 19), 1_000: InM(34, 17), 10_000: InM(830, 17)},
    "list_domains": {10: InM(2.4, 1.6), 1_000: InM(57, 49), 10_000: InM(420, 530)},
    "list_domains-first-page": {10_000: InM(1.4, 1.5)},
    "find_domain": {10_000: InM(10.5, 9.7)},
    "domain_count": {10_000: InM(10.5, 9.7)},
    "dom_info": {10_000: InM(10.5, 9.7)},
    "add_domain": {10: InM(160, 210), 1_000: InM(190, 310), 10_000: InM(350, 410)},
}
# fmt: on
"""Workload -> size of the site -> figures; the size None stands for all."""


def c_in_m(workload: str, size: int) -> InM | None:
    """Return the C daemons' figures for ``workload`` on a site of ``size``, if measured."""
    figures = C_IN_M.get(workload, {})
    return figures.get(size, figures.get(None))
