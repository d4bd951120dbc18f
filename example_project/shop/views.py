import uuid
from contextlib import suppress

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import views as auth_views
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from django_krcard import services
from django_krcard.exceptions import ChargeRefused
from shop.forms import MENU, OrderForm
from shop.models import Order
from shop.people import PASSWORD, PEOPLE
from shop.plans import AS_USED, MEMBERSHIP, PLANS


def home(request):
    return render(request, "shop/home.html", {"plans": PLANS.values()})


def plan(request, slug):
    if slug not in PLANS:
        raise Http404
    plan = PLANS[slug]
    return render(request, "shop/plan.html", {"plan": plan, "mandate": plan.mandate_of(request.user)})


@login_required
def member(request):
    context = {
        "membership": MEMBERSHIP.mandate_of(request.user),
        "as_used": AS_USED.mandate_of(request.user),
        "menu": MENU,
        "order_number": uuid.uuid4(),
        "orders": Order.objects.filter(mandate__customer__user=request.user)[:5],
    }
    return render(request, "shop/member.html", context)


# Stripe is never called inside a transaction: on a site with ATOMIC_REQUESTS a view that charges says so.
@transaction.non_atomic_requests
@login_required
def place_order(request):
    if request.method != "POST":
        # A log-in came between the button and here.
        return redirect("shop:member")
    mandate = AS_USED.mandate_of(request.user)
    if mandate is None:
        messages.info(request, _("먼저 카드를 등록해 주세요."))
        return redirect("shop:plan", slug=AS_USED.slug)
    form = OrderForm(request.POST)
    if not form.is_valid():
        messages.error(request, _("주문을 알아볼 수 없어요. 다시 눌러 주세요."))
        return redirect("shop:member")

    item = MENU[form.cleaned_data["item"]]
    order, _new = Order.objects.get_or_create(
        number=form.cleaned_data["number"],
        defaults={"mandate": mandate, "item": str(item.name), "price": item.price},
    )
    if order.mandate != mandate:
        raise Http404
    # A refusal is recorded like any other outcome, and the page of the order shows it.
    with suppress(ChargeRefused):
        services.charge(mandate, order.price, reference=str(order.number), description=order.item, by="customer")
    return redirect(order)


@transaction.non_atomic_requests
@login_required
def order(request, number):
    order = get_object_or_404(Order, number=number, mandate__customer__user=request.user)
    if request.method == "POST":
        # "Check again": the same reference is settled under its one key, and charges once.
        with suppress(ChargeRefused):
            services.charge(
                order.mandate, order.price, reference=str(order.number), description=order.item, by="customer"
            )
        return redirect(order)
    return render(request, "shop/order.html", {"order": order, "charge": order.charge})


class LoginView(auth_views.LoginView):
    template_name = "shop/login.html"
    # Log-ins for one click, while this is a demo on somebody's own machine.
    extra_context = {"people": PEOPLE, "password": PASSWORD} if settings.DEBUG else None
