from django.conf import settings


def sandbox(request) -> dict[str, bool]:
    """For the banner on each page."""
    return {"sandbox": settings.KRCARD_SANDBOX}
