"""The one error for input that its giver can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Wrong input from outside.

    The message is one sentence that names the argument and says what was seen. The command line
    prints it and exits with status 2; every other exception is a defect of ours and exits 1.
    """
