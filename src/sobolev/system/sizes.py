"""Sizes of memory and files in words."""


def human(size: int | float, tenths: bool = False) -> str:
    """Bytes with a decimal unit, as in 17 B, 636 KB, 1.2 GB. KB and MB are whole numbers unless `tenths`."""
    if size < 999.5:
        return f"{size:.0f} B"
    digits = 1 if tenths else 0
    for unit in ("KB", "MB"):
        size /= 1000
        if float(f"{size:.{digits}f}") < 1000:
            return f"{size:.{digits}f} {unit}"
    return f"{size / 1000:.1f} GB"
