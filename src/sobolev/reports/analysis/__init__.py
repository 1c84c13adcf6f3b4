"""The computations of a report: compares runs over tasks and seeds, with statistics and their intervals."""
