"""Signs, labels, tables and screens, in English; signs and receipts in Chinese."""

from __future__ import annotations

from collections.abc import Callable

from training.mix.rendered.held_out import Draw
from training.mix.rendered.page import Color, Fact, Page, Row
from training.mix.rendered.receipts import receipt
from training.mix.rendered.values import clock_text, date_text, filled, money, phone_number, price
from training.mix.tables import document

_SIGN_COLORS: tuple[tuple[Color, Color], ...] = (
    ((250, 250, 250), (20, 20, 20)), ((190, 25, 35), (255, 255, 255)),
    ((250, 205, 30), (20, 20, 20)), ((0, 95, 60), (255, 255, 255)),
    ((20, 60, 140), (255, 255, 255)), ((245, 240, 225), (90, 45, 20)),
    ((30, 30, 35), (240, 220, 130)), ((235, 120, 25), (20, 20, 20)),
    ((205, 225, 240), (25, 35, 80)), ((110, 20, 60), (250, 235, 240)),
)  # fmt: skip
_PATTERNS = {
    "weight": ("### g", "#.# kg", "### ml", "#00g"),
    "lot": ("L####", "@@-###", "#####@", "L ## ###"),
    "serial": ("@@##########", "SN#######", "####-####-####", "@#@#@##"),
    "model": ("@@-###", "@###@", "#### Pro", "@@ ## @"),
}  # fmt: skip


def sign(draw: Draw) -> Page:
    """Make a sign of one to three lines: an order, a place, a street, a shop."""
    text = draw.word("signs")
    words = text.split()
    lines = [text]
    if len(words) > 2 and draw.chance(0.5):
        middle = (len(words) + 1) // 2
        lines = [" ".join(words[:middle]), " ".join(words[middle:])]
    return _board(draw, lines, (_whole(lines),))


def street_sign(draw: Draw) -> Page:
    """Make the sign of a street."""
    street = draw.word("streets")
    lines = [street.upper() if draw.chance(0.3) else street]
    street = lines[0]
    if draw.chance(0.3):
        lines.append(draw.word("cities"))
    return _board(draw, lines, (Fact("street", street), _whole(lines)))


def shop_sign(draw: Draw) -> Page:
    """Make the sign of a shop, often with its phone number or hours."""
    shop, phone = draw.word("shops"), phone_number(draw)
    lines, facts = [shop], [Fact("shop", shop)]
    if draw.chance(0.4):
        lines.append(draw.word("streets"))
        facts.append(Fact("street", lines[-1]))
    if draw.chance(0.6):
        lines.append(f"{draw.one(('Tel. ', 'Call ', 'Phone: ', ''))}{phone}")
        facts.append(Fact("phone", phone))
    if draw.chance(0.4):
        opens = draw.one(("9:00", "8:30", "10:00", "7:00", "11:30"))
        lines.append(f"{draw.one(('Open', 'Mon-Sat', 'Daily', 'Hours:'))} {opens} - 18:00")
        facts.append(Fact("hours", opens))
    return _board(draw, lines, (*facts, _whole(lines)))


def _whole(lines: list[str]) -> Fact:
    return Fact("text", " ".join(lines))


def _board(draw: Draw, lines: list[str], facts: tuple[Fact, ...], chinese: bool = False) -> Page:
    rng = draw.rng
    paper, ink = draw.one(_SIGN_COLORS)
    first = rng.choice((1, 1.4)) if len(lines) > 1 else 1
    sizes = [first, *(rng.choice((0.6, 0.8, 1)) for _ in lines[1:])]
    rows = [Row((line,), size, True) for line, size in zip(lines, sizes, strict=True)]
    letters = rng.randint(44, 96)
    width = max(240, round(letters * 0.75 * max(map(len, lines)) * rng.uniform(0.8, 1.3)))
    if chinese:
        width = round(letters * (max(map(len, lines)) + 1.5))
    border = rng.choice((0, 0, 4, 8))
    return Page(
        "sign", tuple(rows), facts, min(width, 1100), letters, paper, ink, border, chinese=chinese
    )


def label(draw: Draw) -> Page:
    """Make the label of a product: its name, and some lines with a name and a value."""
    rng, product = draw.rng, draw.word("products")
    rows = [Row((product,), rng.choice((1.5, 2, 2.6)), draw.chance(0.5))]
    facts = [Fact("product", product)]
    names = document("written")["label_fields"]
    split = draw.chance(0.4)  # the value stands at the other end of the row
    for about in rng.sample(sorted(names), k=rng.randint(2, 5)):
        value = _label_value(draw, about)
        name = draw.one(names[about])
        name = name if draw.chance(0.6) or name.endswith(".") else f"{name}:"
        rows.append(Row((name, value) if split else (f"{name} {value}",)))
        facts.append(Fact(about, value))
    if draw.chance(0.4):
        rows.append(Row((filled(draw, "# ###### ######"),), 0.9, True))
    letters, paper = rng.randint(22, 40), rng.choice(((255, 255, 255), (250, 245, 215)))
    width = letters * rng.randint(14, 24)
    return Page(
        "label", tuple(rows), tuple(facts), width, letters, paper, border=rng.choice((0, 2, 5))
    )


def _label_value(draw: Draw, about: str) -> str:
    if about == "best_before":
        return date_text(draw)
    if about == "origin":
        return draw.word("countries")
    if about == "price":
        return f"{draw.one(('$', '€', 'RM', '£'))}{money(price(draw))}"
    return filled(draw, draw.one(_PATTERNS[about]))


def table(draw: Draw) -> Page:
    """Make a small table: a name in each row, numbers in the columns."""
    rng = draw.rng
    columns = draw.words("table_columns", rng.randint(1, 3))
    of_products = draw.chance(0.5)
    names = draw.words("products" if of_products else "persons", rng.randint(3, 7))
    first = "Item" if of_products else "Name"
    values = {(n, c): _table_value(draw, c) for n in names for c in columns}
    rows = [Row((first, *columns), rule="_", band=rng.choice((None, (205, 215, 230))))]
    rows += [Row((name, *(values[name, c] for c in columns))) for name in names]
    if draw.chance(0.5):
        rows.insert(0, Row((draw.word("screen_titles"),), 1.3, True))
    facts = [
        Fact("cell", values[name, column], {"row": name, "column": column.lower()})
        for name, column in rng.sample(sorted(values), k=2)
    ]
    letters = rng.randint(22, 32)
    width = letters * (9 + 8 * len(columns))
    return Page("table", tuple(rows), tuple(facts), width, letters, grid=draw.chance(0.5))


def _table_value(draw: Draw, column: str) -> str:
    if column in ("Price", "Sales"):
        return money(price(draw))
    if column == "Time":
        return clock_text(draw)
    return str(draw.rng.randint(1, 400))


def screen(draw: Draw) -> Page:
    """Make a window or a message of a phone: title, text, buttons."""
    rng = draw.rng
    title, text = draw.word("screen_titles"), draw.word("screen_texts")
    sender, button = draw.word("persons"), draw.word("buttons")
    dark = draw.chance(0.3)
    paper, ink = ((32, 33, 36), (235, 235, 235)) if dark else ((250, 250, 252), (30, 30, 35))
    band = rng.choice(((55, 75, 110), (60, 60, 65)) if dark else ((200, 215, 240), (225, 225, 230)))
    rows = [Row((title, draw.one(("x", "...", clock_text(draw)))), 1.2, band=band)]
    facts = [Fact("title", title), Fact("message", text)]
    if draw.chance(0.6):
        rows.append(Row((f"{draw.one(('From: ', '', 'Sender: '))}{sender}",)))
        facts.append(Fact("sender", sender))
    if draw.chance(0.4):
        rows.append(Row((date_text(draw),), 0.85))
        facts.append(Fact("date", rows[-1].cells[0]))
    rows += [Row((text,)), Row((" ",))]
    if draw.chance(0.7):
        rows.append(Row((button,), 1.1, True, band=band))
        facts.append(Fact("button", button))
    letters = rng.randint(24, 36)
    width = letters * rng.randint(16, 30)
    return Page("screen", tuple(rows), tuple(facts), width, letters, paper, ink)


def chinese_sign(draw: Draw) -> Page:
    """Make a Chinese sign: an order, a street, or a shop."""
    about = draw.rng.choice(("text", "street", "shop"))
    names = {"text": "chinese_signs", "street": "chinese_streets", "shop": "chinese_shops"}
    text = draw.word(names[about])
    lines, facts = [text], [Fact(about, text)]
    if about == "shop" and draw.chance(0.6):
        phone = phone_number(draw)
        lines.append(f"电话：{phone}")
        facts.append(Fact("phone", phone))
    return _board(draw, lines, tuple(facts), chinese=True)


def chinese_receipt(draw: Draw) -> Page:
    """Make a small Chinese receipt."""
    rng = draw.rng
    shop, date = draw.word("chinese_shops"), date_text(draw)
    rows = [Row((shop,), 1.4, True), Row((f"日期：{date}",)), Row((" ",), rule="-")]
    total, facts = 0, [Fact("shop", shop), Fact("date", date)]
    for item in draw.words("chinese_products", rng.randint(2, 5)):
        cents = price(draw)
        total += cents
        rows.append(Row((item, money(cents))))
        facts.append(Fact("item_price", money(cents), {"item": item}))
    rows += [
        Row((" ",), rule="-"),
        Row((draw.one(("合计", "总计", "应收", "共计")), money(total)), 1.2),
    ]
    facts.append(Fact("total", money(total)))
    letters = rng.randint(24, 32)
    width = letters * rng.randint(11, 16)
    return Page("receipt", tuple(rows), tuple(facts), width, letters, chinese=True)


_KINDS: dict[Callable[[Draw], Page], int] = {
    receipt: 32, sign: 17, street_sign: 6, shop_sign: 8, label: 15, table: 10, screen: 9,
}  # fmt: skip
_CHINESE_KINDS: dict[Callable[[Draw], Page], int] = {chinese_sign: 7, chinese_receipt: 4}


def random_page(draw: Draw, with_chinese: bool) -> Page:
    """Make a page of any kind, receipts the most often."""
    kinds = _KINDS | (_CHINESE_KINDS if with_chinese else {})
    (kind,) = draw.rng.choices(list(kinds), list(kinds.values()))
    return kind(draw)
