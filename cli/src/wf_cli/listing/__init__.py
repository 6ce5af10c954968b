"""``wf list`` and ``wf show``: components, plugins, vocabularies, and compatible components."""
