"""The addresses of the admin, and how a person uses them."""

from django.urls import reverse


def page(row, name="change"):
    return reverse(f"admin:krcard_{row._meta.model_name}_{name}", args=[row.pk])


def act(client, row, name, **data):
    """Open the page of an act, fill in the form and send it, as a person does."""
    url = page(row, name)
    form = client.get(url, follow=True).context["form"]
    shown = {field.name: field.value() for field in form if field.value() is not None}
    return client.post(url, shown | data, follow=True)
