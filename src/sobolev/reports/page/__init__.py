"""The parts of a report, and how they are written: as HTML, Markdown and CSV."""
