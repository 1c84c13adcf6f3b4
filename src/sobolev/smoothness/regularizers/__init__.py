"""The regularizers of `--regularizer`: their interface (`api.py`), their registry, and a file for each."""
