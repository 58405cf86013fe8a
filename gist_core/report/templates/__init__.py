"""The templates of the report: a package, so that an installed copy has them."""
