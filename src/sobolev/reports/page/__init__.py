"""What a report is written as: its parts, tables, HTML, Markdown and CSV."""
