"""``python -m wf_cli`` is ``wf``."""

from wf_cli.main import main

if __name__ == "__main__":
    main()
