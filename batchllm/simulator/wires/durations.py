"""Times as providers write them in headers and messages."""

from datetime import UTC, datetime
from email.utils import format_datetime


def go_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: `12ms`, `7.66s`, `6m0s`, `1h2m3s`."""
    if seconds < 1:
        return f"{_plain(seconds * 1000, 3)}ms" if seconds > 0 else "0s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    lead = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{lead}{_plain(rest, 4)}s"


def protobuf_duration(seconds: float) -> str:
    """Seconds as protobuf's JSON prints a duration: `36s`, `36.429760048s`."""
    return f"{_plain(seconds, 9)}s"


def timestamp(at: float) -> str:
    """A time in RFC 3339, in whole seconds, UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def http_date(at: float) -> str:
    """A time as HTTP's `Date` header prints it."""
    return format_datetime(datetime.fromtimestamp(int(at), UTC), usegmt=True)


def _plain(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
