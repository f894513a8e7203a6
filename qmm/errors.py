"""The one exception for what a user can mend: it names what came, what was expected and what to do."""


class InputError(ValueError):
    """Bad input: a file, a row, a field, a configuration or a checkpoint. The command line prints it without a traceback."""
