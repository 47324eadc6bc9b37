"""Every number about a class, right and at once."""
