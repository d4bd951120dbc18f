"""The terms of the two plans, as a small Korean shop might write them. Have yours read by a lawyer."""

MEMBERSHIP = {
    "rule": {
        "slug": "membership",
        "frequency": "recurring",
        "period": "month",
        "amount_kind": "fixed",
        "amount": 12_900,
    },
    "ko": {
        "title": "책방 멤버십 자동결제 약관",
        "permission": (
            "고객님은 달나루 책방(이하 ‘책방’)이 멤버십 이용 요금을 등록한 카드로 정기적으로 결제하는 것을 "
            "허락합니다. "
            "결제할 때마다 카드 인증을 다시 하지는 않습니다. "
            "책방은 이 약관에 적힌 횟수와 금액을 벗어나 결제하지 않습니다."
        ),
        "timing": (
            "한 달에 한 번 정기적으로 결제합니다. "
            "한 달은 카드를 등록한 날짜부터 다음 달 같은 날짜의 전날까지이며, 같은 날짜가 없는 달에는 말일을 "
            "기준으로 합니다. "
            "첫 결제는 카드를 등록한 뒤 한 달 안에 이루어집니다."
        ),
        "amount_basis": (
            "1회 결제 금액은 12,900원(부가세 포함)으로 정해져 있으며, 그 밖의 비용은 없습니다. "
            "요금이 바뀌면 책방은 고객님께 미리 알리고 동의를 새로 받습니다. "
            "동의하지 않으시면 바뀐 요금을 결제하지 않습니다."
        ),
        "cancellation": (
            "‘내 카드’ 화면에서 언제든지 해지할 수 있으며 위약금은 없습니다. "
            "해지하는 즉시 자동결제가 멈추고 카드 등록도 해제됩니다. "
            "결제일부터 7일 안에는 청약을 철회할 수 있고, 그 뒤에 해지하면 남은 날수만큼의 요금을 3영업일 안에 "
            "환불합니다."
        ),
    },
    "en": {
        "title": "Terms of automatic payment for the membership",
        "permission": (
            "You allow Dalnaru Books (“the bookshop”) to charge the membership fee regularly to the card you "
            "register. "
            "You will not be asked to authenticate each payment. "
            "The bookshop will not charge more often, or more, than these terms say."
        ),
        "timing": (
            "One payment a month. "
            "A month runs from the date on which you register the card to the day before the same date of the next "
            "month; in months without that date, the last day counts. "
            "The first payment is made within a month after you register the card."
        ),
        "amount_basis": (
            "Each payment is ₩12,900, VAT included, and there are no other costs. "
            "If the price changes, the bookshop will tell you in advance and ask for your agreement again. "
            "Without it, the new price is not charged."
        ),
        "cancellation": (
            "You can cancel at any time under “My cards”, free of charge. "
            "Automatic payment stops at once and your card is removed. "
            "Within 7 days after a payment you may withdraw from it; if you cancel later, the fee for the remaining "
            "days is refunded within 3 business days."
        ),
    },
}

AS_USED = {
    "rule": {
        "slug": "as-used",
        "frequency": "as_used",
        "period": "month",
        "amount_kind": "maximum",
        "amount": 30_000,
        "max_amount_per_period": 100_000,
    },
    "ko": {
        "title": "‘지갑 없는 책방’ 자동결제 약관",
        "permission": (
            "고객님은 달나루 책방(이하 ‘책방’)이 고객님께서 주문하신 상품의 대금을 등록한 카드로 결제하는 것을 "
            "허락합니다. "
            "결제할 때마다 카드 인증을 다시 하지는 않습니다. "
            "책방은 고객님의 주문 없이, 또는 이 약관에 적힌 한도를 넘어 결제하지 않습니다."
        ),
        "timing": (
            "정해진 결제일은 없으며, 주문하실 때마다 그 자리에서 한 번 결제합니다. 주문이 없으면 결제도 없습니다."
        ),
        "amount_basis": (
            "결제 금액은 주문 화면에 표시된 상품 가격(부가세 포함)입니다. "
            "한 번에 30,000원, 한 달에 모두 합해 100,000원을 넘지 않습니다. "
            "한 달은 카드를 등록한 날짜부터 다음 달 같은 날짜의 전날까지이며, 같은 날짜가 없는 달에는 말일을 "
            "기준으로 합니다."
        ),
        "cancellation": (
            "‘내 카드’ 화면에서 언제든지 해지할 수 있으며 위약금은 없습니다. "
            "해지하는 즉시 자동결제가 멈추고 카드 등록도 해제됩니다. "
            "이미 결제한 주문은 상품을 받으신 날부터 7일 안에 청약을 철회할 수 있으며, 3영업일 안에 환불합니다. "
            "다만 제공이 끝난 음료는 제외합니다."
        ),
    },
    "en": {
        "title": "Terms of automatic payment as used",
        "permission": (
            "You allow Dalnaru Books (“the bookshop”) to charge what you order to the card you register. "
            "You will not be asked to authenticate each payment. "
            "The bookshop will not charge without your order, nor beyond the limits in these terms."
        ),
        "timing": "There is no fixed date: each order is charged once, when you place it. No order, no payment.",
        "amount_basis": (
            "You pay the price shown when you order, VAT included: at most ₩30,000 at a time and ₩100,000 in total a "
            "month. "
            "A month runs from the date on which you register the card to the day before the same date of the next "
            "month; in months without that date, the last day counts."
        ),
        "cancellation": (
            "You can cancel at any time under “My cards”, free of charge. "
            "Automatic payment stops at once and your card is removed. "
            "You may withdraw from an order within 7 days after you receive it, and it is refunded within 3 business "
            "days; drinks already served are excepted."
        ),
    },
}

TERMS = (MEMBERSHIP, AS_USED)

# The same for both.
BODY = {
    "ko": (
        "카드 정보: 카드번호는 책방에 전달되지 않습니다. "
        "책방은 카드사 이름과 카드 끝번호 4자리, 결제 기록만 보관합니다.\n\n"
        "결제 처리: 결제는 Stripe와 국내 결제대행사 나이스페이먼츠(NICEPAY)를 통해 이루어집니다. "
        "이를 위해 고객님의 이름, 이메일 주소, 카드 정보와 결제 내역을 Stripe(미국)와 나이스페이먼츠(대한민국)가 "
        "처리하며, 결제 기록은 전자상거래법에 따라 5년 동안 보관됩니다.\n\n"
        "선택 항목: 선택 항목에 동의하지 않아도 서비스를 똑같이 이용할 수 있습니다.\n\n"
        "문의: 달나루 책방 고객센터 02-000-0000(평일 10:00–18:00)"
    ),
    "en": (
        "Your card: the bookshop never receives your card number. "
        "It keeps the name of the card company, the last four digits and the record of payments.\n\n"
        "Processing: payments are made through Stripe and its Korean processor NICEPAY (나이스페이먼츠). "
        "For this, Stripe (United States) and NICEPAY (South Korea) process your name, e-mail address, card details "
        "and payments. "
        "The E-Commerce Act requires records of payments to be kept for 5 years.\n\n"
        "Optional boxes: the service is the same if you leave them empty.\n\n"
        "Questions: Dalnaru Books, 02-000-0000 (weekdays 10:00–18:00)"
    ),
}

ITEMS = {
    "ko": [
        {"key": "autopay", "label": "자동결제 이용 동의", "required": True},
        {"key": "card", "label": "카드정보 저장 동의", "required": True},
        {"key": "news", "label": "혜택·이벤트 알림 수신", "required": False},
    ],
    "en": [
        {"key": "autopay", "label": "I agree to automatic payment", "required": True},
        {"key": "card", "label": "I agree that my card is saved", "required": True},
        {"key": "news", "label": "Tell me about benefits and events", "required": False},
    ],
}
