from django.contrib.auth.views import LogoutView
from django.urls import path

from shop import views

app_name = "shop"
urlpatterns = [
    path("", views.home, name="home"),
    path("plans/<slug:slug>/", views.plan, name="plan"),
    path("member/", views.member, name="member"),
    path("orders/", views.place_order, name="place-order"),
    path("orders/<uuid:number>/", views.order, name="order"),
    path("login/", views.LoginView.as_view(), name="login"),
    path("logout/", LogoutView.as_view(), name="logout"),
]
