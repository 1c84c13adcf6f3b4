"""What the contracts of import-linter (pyproject.toml) do not see."""

import grimp


def test_no_module_imports_a_package_that_it_is_in() -> None:
    """Its __init__ imports the module, which would be a circle."""
    graph = grimp.build_graph("sobolev", cache_dir=None)
    imports = [(module, found) for module in graph.modules for found in graph.find_modules_directly_imported_by(module)]
    assert len(imports) > 1000
    assert [f"{module} imports {found}" for module, found in imports if module.startswith(f"{found}.")] == []
