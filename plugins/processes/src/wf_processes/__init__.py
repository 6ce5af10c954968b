"""The processes of one run: what they tell each other, the signals that end them, and how one ended."""
