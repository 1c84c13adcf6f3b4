"""What a report reads: runs and their score files, the names of their variants, and published scores."""
