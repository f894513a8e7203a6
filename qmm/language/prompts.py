"""Templates of what a language model reads between prefix and sentence."""

from string import Formatter

from qmm.errors import InputError


def checked_template(template: str) -> str:
    """The template. Raises InputError unless its only field is `{prompt}`, as often as it likes."""
    try:
        fields = [(name, spec, conversion) for _, name, spec, conversion in Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise InputError(f"prompt={template!r}: {error}; write braces that are meant as such twice") from error
    if any(field != ("prompt", "", None) for field in fields):
        raise InputError(f"prompt={template!r}: the only field is {{prompt}}; write braces that are meant as such twice")
    return template


def filled(template: str, prompt: str) -> str:
    """The template with a sample's own prompt in it; nothing where it asks for one and there is none."""
    if not prompt and any(name is not None for _, name, _, _ in Formatter().parse(template)):
        return ""
    return template.format(prompt=prompt)
