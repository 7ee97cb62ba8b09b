"""Numbers for people: durations, byte counts, tables."""

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """`under 1 s`, `45 s`, `12 min`, `3.2 h`, `4.0 days`."""
    if seconds < 1:
        return "under 1 s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 72 * 3600 else f"{seconds / 86400:.1f} days"


def byte_count(n_bytes: float) -> str:
    """`0.4 GiB`; below a tenth of that, `12 MiB`."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 0.1 * 2**30 else f"{n_bytes / 2**20:.0f} MiB"


def table_lines(rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    """Rows of cells, a header first, in columns: text to the left, numbers to the right (none without `numbers`)."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numeric = [numbers and all(_is_number(row[column]) for row in rows[1:]) for column in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in rows
    ]


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "").removesuffix("%") or "0")
    except ValueError:
        return False
    return True
