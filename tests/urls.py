from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("krcard/", include("django_krcard.urls")),
    path("stripe-sandbox/", include("django_krcard.sandbox.urls")),
]
