"""What a process needs of its machine: files that are whole or absent, lines of text, memory. Knows no other room."""
