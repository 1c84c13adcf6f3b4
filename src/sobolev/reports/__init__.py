"""Reports: scores of runs compared over tasks and seeds, as tables, figures and one page."""
