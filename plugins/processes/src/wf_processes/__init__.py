"""The processes of one run: their messages, the signals that stop them, and the reasons why they end."""
