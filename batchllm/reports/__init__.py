"""Reports: what a run did, as one page of HTML that needs no network."""

from batchllm.reports.figures import figures_of
from batchllm.reports.report import Report
from batchllm.reports.writing import (
    is_report,
    read_report,
    render_report,
    save_report,
    write_report,
)

__all__ = [
    "Report",
    "figures_of",
    "is_report",
    "read_report",
    "render_report",
    "save_report",
    "write_report",
]
