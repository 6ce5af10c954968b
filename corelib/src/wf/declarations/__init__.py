"""What plugins declare, and the words that these declarations add. Imports nothing heavy."""
