"""What a user can mend."""


class InputError(ValueError):
    """Something the user gave cannot be used: the message names it, the allowed form, and what came."""
