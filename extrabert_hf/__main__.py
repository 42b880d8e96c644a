"""`python -m extrabert_hf`: the command `extrabert`."""

from extrabert_hf.cli.main import main

if __name__ == "__main__":
    main()
