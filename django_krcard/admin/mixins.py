"""What the admin pages of this package share. Sites with an admin theme put them on its ModelAdmin."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string


class KrcardAdmin(admin.ModelAdmin):
    # Removing rows in bulk would go around every model's own delete().
    actions = None
    list_per_page = 50
    # Counting a whole table of evidence for a heading is not worth the wait.
    show_full_result_count = False

    class Media:
        css = {"all": ["krcard/admin.css"]}


class PageContextMixin:
    """Shows on a row's page what a function says of the row."""

    #: Dotted path of a function: row in, context out. Loaded with the first page, for the same reason as page actions.
    page_context: str

    def render_change_form(self, request, context, add=False, change=False, form_url="", obj=None):
        if obj:
            context |= import_string(self.page_context)(obj)
        return super().render_change_form(request, context, add=add, change=change, form_url=form_url, obj=obj)


class ReadOnlyMixin:
    """Rows that staff may look at and nothing else."""

    def has_add_permission(self, request, obj=None) -> bool:
        return False

    def has_change_permission(self, request, obj=None) -> bool:
        return False

    def has_delete_permission(self, request, obj=None) -> bool:
        return False


def user_search_fields(path: str) -> list[str]:
    """Name and e-mail of the user at ``path``, as far as the site's own user model has them."""
    User = get_user_model()
    names = {User.USERNAME_FIELD, User.get_email_field_name()}
    return [f"{path}__{name}" for name in sorted(names) if _has_field(User, name)]


def _has_field(model, name: str) -> bool:
    try:
        model._meta.get_field(name)
    except FieldDoesNotExist:
        return False
    return True
