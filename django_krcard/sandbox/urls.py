from django.urls import path

from . import panel, views

app_name = "krcard_sandbox"

urlpatterns = [
    path("checkout/<str:session_id>/", views.CheckoutView.as_view(), name="checkout"),
    path("checkout/<str:session_id>/issuer/", views.IssuerView.as_view(), name="issuer"),
    path("checkout/<str:session_id>/authorise/", views.AuthoriseView.as_view(), name="authorise"),
    path("checkout/<str:session_id>/fail/", views.FailView.as_view(), name="fail"),
    path("checkout/<str:session_id>/expire/", views.ExpireView.as_view(), name="expire"),
    path("panel/", panel.PanelView.as_view(), name="panel"),
    path("panel/<str:scenario>/", panel.PlayView.as_view(), name="play"),
]
