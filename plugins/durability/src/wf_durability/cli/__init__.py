"""The verbs of this package, each imported when it is used."""
