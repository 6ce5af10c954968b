"""``wf list`` and ``wf show``: components, declarations, words, and what fits what."""
