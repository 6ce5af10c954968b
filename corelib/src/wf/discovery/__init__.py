"""Finding and loading plugins: guarded one by one, with the names, pins and allow-lists that decide which."""
