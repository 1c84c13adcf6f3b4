"""Stepping environments in processes of their own."""
