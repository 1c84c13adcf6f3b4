"""Reports: compares the scores of runs over tasks and seeds, in tables, figures and one page.

`report.report` makes a report of the parts in `registry`. Runs are read in `results` and compared in `analysis`;
`tables` and `figures` show the comparison, and `page` writes it.
"""
