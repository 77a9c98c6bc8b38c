"""Receipts: long and narrow, in the layouts of many tills."""

from __future__ import annotations

from training.mix.rendered.held_out import Draw
from training.mix.rendered.page import Fact, Page, Row
from training.mix.rendered.values import clock_text, date_text, money, phone_number, price

_ITEMS = ("plain", "plain", "counted", "under", "columns", "numbered")
_RULES = ("-", "=", "_", "", "*", ".")


def receipt(draw: Draw) -> Page:
    """Make a receipt: shop, address, date, items, sums, what was paid."""
    rng = draw.rng
    shop, street, city = draw.word("shops"), draw.word("streets"), draw.word("cities")
    phone, rule = phone_number(draw), draw.one(_RULES)
    address = f"{rng.randint(1, 180)} {street}"
    date, clock = date_text(draw), clock_text(draw)
    number = f"{rng.choice(('', 'INV', 'R', 'CS-', '#'))}{rng.randint(1000, 9_999_999):05}"
    centered = draw.chance(0.7)
    shop = shop.upper() if draw.chance(0.4) else shop
    facts = [Fact("shop", shop), Fact("date", date), Fact("address", address)]
    rows = [Row((shop,), rng.choice((1, 1.3, 1.7)), centered)]
    if draw.chance(0.5):
        rows.append(Row((f"({rng.randint(100000, 999999)}-{rng.choice('AHKTX')})",), 1, centered))
    town = f"{rng.randint(10000, 99999)} {city}"
    rows += [Row((address,), 1, centered), Row((town,), 1, centered)]
    if draw.chance(0.7):
        before = draw.one(("Tel: ", "TEL : ", "Phone ", "Ph. "))
        rows.append(Row((f"{before}{phone}",), 1, centered))
        facts.append(Fact("phone", phone))
    if draw.chance(0.6):
        rows.append(Row((draw.word("titles"),), rng.choice((1, 1.2)), centered))
    day = [Row((f"{draw.word('date_names')} {date} {clock}".strip(),))]
    if draw.chance(0.5):
        day = [Row((draw.word("date_names").strip() or "Date", date)), Row(("Time", clock))]
        facts.append(Fact("time", clock))
    if draw.chance(0.6):
        day.append(Row((draw.one(("Invoice No:", "Receipt #", "Bill No.", "Doc No. :")), number)))
        facts.append(Fact("invoice", number))
    if draw.chance(0.4):
        day.append(Row((f"Cashier: {draw.word('firsts')}",)))
    last = draw.chance(0.15)  # the date stands at the end
    rows += [] if last else day
    rows.append(Row((" ",), 0.7, rule=rule))
    items, subtotal, item_facts = _items(draw)
    rows += items
    facts += item_facts
    rows.append(Row((" ",), 0.7, rule=rule))
    sums, sum_facts = _sums(draw, subtotal)
    rows += sums
    facts += sum_facts
    rows += day if last else []
    rows += [Row((text,), 1, centered) for text in draw.words("thanks", rng.randint(1, 3))]
    paper = rng.choice(((252, 252, 250), (245, 243, 236), (235, 238, 240)))
    ink = rng.choice(((20, 20, 20), (60, 60, 70), (45, 45, 90)))
    letters = rng.randint(20, 30)
    width = letters * rng.randint(15, 24)
    return Page("receipt", tuple(rows), tuple(facts), width, letters, paper, ink)


def _items(draw: Draw) -> tuple[list[Row], int, list[Fact]]:
    """Make the rows of the items, their sum in cents, and what can be asked of them."""
    rng, kind = draw.rng, draw.one(_ITEMS)
    rows = [Row(("Item", "Qty", "Price", "Amount"))] if kind == "columns" else []
    total, facts = 0, []
    upper = draw.chance(0.4)
    names = draw.words("products", rng.choice((1, 2, 3, 3, 4, 5, 6, 8, 10, 14)))
    for place, name in enumerate(names, start=1):
        cents, count = price(draw), rng.choice((1, 1, 1, 2, 3))
        total += cents * count
        amount, name = money(cents * count), name.upper() if upper else name
        if kind == "columns":
            rows.append(Row((name, str(count), money(cents), amount)))
        elif kind == "under":
            rows += [Row((name,)), Row((f"  {count} x {money(cents)}", amount))]
        elif kind == "counted":
            rows.append(Row((f"{count} {name}", amount)))
        elif kind == "numbered":
            code = str(rng.randint(10**7, 10**9))
            rows += [Row((f"{place}. {code}",)), Row((name, amount))]
        else:
            rows.append(Row((name, amount)))
        if kind != "columns" or count == 1:
            facts.append(Fact("item_price", amount, {"item": name}))
    return rows, total, rng.sample(facts, min(2, len(facts)))


def _sums(draw: Draw, subtotal: int) -> tuple[list[Row], list[Fact]]:
    rng, sign = draw.rng, draw.word("currencies")
    tax = round(subtotal * rng.choice((0.06, 0.1, 0.2))) if draw.chance(0.5) else 0
    total = subtotal + tax
    rows, facts = [], [Fact("total", money(total))]
    if tax or draw.chance(0.4):
        rows.append(Row((draw.word("sub_names"), sign + money(subtotal))))
    if tax:
        rows.append(Row((draw.word("tax_names"), sign + money(tax))))
        facts.append(Fact("tax", money(tax)))
    if draw.chance(0.25):
        rows.append(Row(("Rounding", "0.00")))
    if draw.chance(0.2):
        rows.append(Row((f"Total Qty: {rng.randint(1, 12)}",)))
    size = rng.choice((1, 1, 1.25, 1.6))
    rows.append(Row((draw.word("total_names"), sign + money(total)), size))
    if draw.chance(0.7):
        paid = rng.choice((total, -(-total // 500) * 500, -(-total // 5000) * 5000))
        rows.append(Row((draw.word("paid_names"), sign + money(paid))))
        if draw.chance(0.8):
            rows.append(Row((draw.word("change_names"), sign + money(paid - total))))
            facts.append(Fact("change", money(paid - total)))
    return rows, facts
