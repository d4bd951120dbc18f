"""The boxes to tick, as a person writes them: one line each."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

#: Both languages are understood whatever the admin's own is, so that lines can be copied.
REQUIRED = {"required": True, "필수": True, "optional": False, "선택": False}


class ItemsField(forms.CharField):
    """``key | required | label`` on each line, in the model a list of ``{"key", "label", "required"}``."""

    widget = AdminTextareaWidget(attrs={"rows": 4})

    def __init__(self, **kwargs):
        kwargs.setdefault("label", gettext_lazy("Boxes to tick"))
        kwargs.setdefault(
            "help_text", gettext_lazy("One box a line: key | required | label, or key | optional | label.")
        )
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Lines for the widget; what a person typed stays as typed."""
        return "\n".join(line_of(item) for item in value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[dict[str, Any]]:
        if isinstance(value, list):
            return value
        errors, items = [], []
        for number, line in enumerate((value or "").splitlines(), start=1):
            if not line.strip():
                continue
            try:
                items.append(_item(line))
            except ValidationError as error:
                errors.append(_("Line %(number)d: %(problem)s") % {"number": number, "problem": error.message})
        if errors:
            raise ValidationError(errors)
        return items


def line_of(item: dict[str, Any]) -> str:
    word = _("required") if item["required"] else _("optional")
    return f"{item['key']} | {word} | {item['label']}"


def _item(line: str) -> dict[str, Any]:
    parts = [part.strip() for part in line.split("|", 2)]
    if len(parts) != 3 or not all(parts):
        raise ValidationError(_("write it as key | required | label."))
    key, word, label = parts
    if not key.isidentifier() or not key.isascii():
        raise ValidationError(_("“%(key)s” is no key. Use Latin letters, digits and _.") % {"key": key})
    words = REQUIRED | {_("required"): True, _("optional"): False}
    if word.lower() not in words:
        raise ValidationError(_("“%(word)s” must be required or optional.") % {"word": word})
    return {"key": key, "label": label, "required": words[word.lower()]}
