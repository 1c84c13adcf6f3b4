"""The families of environments that come with sobolev, a module each; `catalog` lists them."""
