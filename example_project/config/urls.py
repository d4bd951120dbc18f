from django.conf import settings
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("shop.urls")),
    path("krcard/", include("django_krcard.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("admin/", admin.site.urls),
]
if settings.KRCARD_SANDBOX:
    urlpatterns.append(path("stripe-sandbox/", include("django_krcard.sandbox.urls")))
