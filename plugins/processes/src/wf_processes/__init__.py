"""The processes of one run: their messages, the signals that end them, and how one ended."""
