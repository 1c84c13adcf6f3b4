"""The colours of methods, the same in all figures."""

import zlib
from collections.abc import Sequence

COLORS = {
    "gpld": "#1f6fb4",
    "dreamer": "#d1662a",
    "dsdpg": "#3a8f4d",
    "dsdpg-mmd": "#98b43c",
    "mage": "#8a4fa3",
    "td3": "#b8860b",
    "mmd": "#2aa3a3",
    "iqn": "#c0396b",
}
"""The colours of the built-in methods."""
OTHERS = ("#6b6b2e", "#7a5c46", "#d98cb3", "#63b7e6", "#e0a458", "#2f6f62", "#a83a32", "#8d99ae", "#3d2f4f", "#c9b400")
"""The colours of all other labels: variants, and methods of other packages."""
GREY = "#777777"
"""The colour of published numbers (dashed lines), and of references that belong to no method."""


def colors(labels: Sequence[str]) -> dict[str, str]:
    """Returns a colour for every label: that in `COLORS`, else one of `OTHERS`.

    A checksum of the label chooses among `OTHERS`, so that a method of another package has the same colour in all
    figures. If another of the labels has this colour, the next free one is taken. Colours repeat if there are more
    labels than colours.
    """
    chosen = {label: COLORS[label] for label in labels if label in COLORS}
    for label in labels:
        if label not in chosen:
            first = zlib.crc32(label.encode()) % len(OTHERS)
            wanted = [OTHERS[(first + step) % len(OTHERS)] for step in range(len(OTHERS))]
            used = list(chosen.values())
            chosen[label] = min(wanted, key=used.count)
    return {label: chosen[label] for label in labels}
