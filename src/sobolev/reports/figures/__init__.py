"""The figures of a report, a module for each kind; `registry` lists them."""
