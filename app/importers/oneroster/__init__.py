"""OneRoster 1.1 and 1.2, the CSV binding: a package of rosters and grades becomes facts."""
