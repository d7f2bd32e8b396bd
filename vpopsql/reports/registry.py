"""All reports, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from vpopsql.reports import accounts, domains, files, forwards, history
from vpopsql.reports.report import Report

VERSION = 1
"""Of the columns: it changes when one is renamed, removed, or means something else."""

REPORTS: Mapping[str, Report] = MappingProxyType(
    {
        report.name: report
        for report in (
            *accounts.REPORTS,
            *domains.REPORTS,
            *forwards.REPORTS,
            *history.REPORTS,
            *files.REPORTS,
        )
    }
)
