"""The C daemon's figures, in M.

Source: vpopmaild 5.6.13, cdb build, under ``tcpserver -vHRD``, client and server on one machine
with 2 cores and M = 8,116 a second. Rates are per second divided by M, times are seconds
multiplied by M; of a range measured, what its author gives in M.
"""

from collections.abc import Mapping

C_IN_M: Mapping[str, Mapping[int | None, float]] = {
    "login-md5-1": {None: 0.078},
    "login-md5-8": {None: 0.159},
    "login-md5-32": {None: 0.148},
    "login-sha512-1": {None: 0.036},
    "login-sha512-8": {None: 0.072},
    "login-sha512-32": {None: 0.079},
    "user_info": {100: 0.69, 10_000: 0.64},
    "list_users-expanded": {10_000: 12_000},
    "list_users-compact": {10_000: 4_300},
    "list_users-last-page": {10_000: 1_200},
    "user_count": {10_000: 700},
    "list_domains": {10: 2.4, 1_000: 57, 10_000: 420},
}
"""Workload -> size of the site -> figure; the size None stands for all."""


def c_in_m(workload: str, size: int) -> float | None:
    """Return the C daemon's figure for ``workload`` on a site of ``size``, if it was measured."""
    figures = C_IN_M.get(workload, {})
    return figures.get(size, figures.get(None))
