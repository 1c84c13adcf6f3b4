"""The input of a report: runs and their score files, the names of their variants, and published scores."""
