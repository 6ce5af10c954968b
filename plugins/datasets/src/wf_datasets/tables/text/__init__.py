"""Tables in delimited text files: rows of cells to columns of arrays."""
