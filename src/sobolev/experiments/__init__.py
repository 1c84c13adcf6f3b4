"""The experiments of `sobolev study` and `sobolev sensitivity`, a package each."""
