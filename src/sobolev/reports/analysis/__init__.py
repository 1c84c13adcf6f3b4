"""What a report computes: runs compared over tasks and seeds, with statistics and their intervals."""
