"""aurora-support: a streaming and devices company's support; escalations and refunds."""

from datetime import datetime

from .base import Policy, Tenant, Trace, agent, person

BOT = agent("triage_agent")
REFUNDS = agent("refund_agent")
LUKASZ = person("lukasz.wojcik", "Łukasz Wójcik", "Support lead")
JURGEN = person("jurgen.weiss", "Jürgen Weiß", "Head of customer care")
HANAKO = person("hanako.yamada", "山田 花子", "Incident manager")
NOOR = person("noor.van-dijk", "Noor van Dijk", "Support engineer")

GOODWILL = Policy("refund-goodwill", ("09-01", "1", 40), ("10-07", "2", 25), ("11-11", "3", 30))
WINDOW = Policy("refund-window", ("09-01", "5", 30))
SLA = Policy("escalation-sla", ("09-01", "2.2", 240), ("10-20", "2.3", 180))

PRODUCTS = [
    ("product", slug, "catalogue", name) for slug, name in [
        ("aurora-box", "Aurora Box"), ("aurora-ears", "Aurora Ears"), ("aurora-home", "Aurora Home"),
        ("stream-plus", "Stream Plus"), ("stream-family", "Stream Family"),
    ]
]
CUSTOMERS = [
    ("customer", "cus-%d" % (2_001 + 37 * n), "helpdesk", name) for n, name in enumerate([
        "Anaïs Leroy", "Björn Åkesson", "Chiara Rossi", "Dieter Großmann", "Elif Yılmaz", "Femke Bos",
        "Giorgos Παππάς", "Hedda Ørsted", "Ivana Šarić", "João Magalhães", "Katarzyna Żak", "Liam Byrne",
        "Maja Đorđević", "Nils Grönlund", "Oona Väisänen", "Pavel Novák", "Rosa Ibáñez", "Søren Kjær",
        "Tünde Szőke", "Ugo Fabbri", "Vera Ivanova", "Wim de Graaf", "李 明", "Yann Le Goff",
    ])
]
COMPLAINTS = [
    "No picture after the update", "Charged twice this month", "Sound drops every evening",
    "Parcel arrived damaged", "Cancelled but still charged", "Pairing fails on the new phone",
]


def refund(tenant, trace_id, start):
    """Money back: by right within the window, by goodwill after it."""
    dice, customer, product = tenant.dice, tenant.dice.pick(CUSTOMERS), tenant.dice.pick(PRODUCTS)
    complaint, days, amount = dice.pick(COMPLAINTS), dice.between(2, 75), dice.between(9, 96)
    ticket = ("ticket", "tic-%d" % (48_000 + 17 * int(trace_id[-4:])), "helpdesk", complaint)
    t = Trace(tenant, trace_id, start, ticket[1])
    t.start("refund", "%s: %s" % (product[3], complaint), ticket)
    t.entity(customer, "primary", tickets_this_year=dice.between(1, 9))
    t.entity(product, "related", firmware="%d.%d" % (dice.between(3, 5), dice.below(10)))
    order = "order-%s" % trace_id
    t.input(order, ("shop", "order", "ord-%d" % dice.between(70_000, 99_999)), days_since_purchase=days, amount_eur=amount)
    if days <= WINDOW.at(t.now)[1]:
        t.evaluate(WINDOW, [order], "allow", "Bought %d days ago." % days)
        pay(t, ticket, amount)
        return
    t.evaluate(WINDOW, [order], "deny", "Bought %d days ago; the window is 30." % days)
    limit = GOODWILL.at(t.now)[1]
    if amount <= limit:
        t.evaluate(GOODWILL, [order], "allow", "%d EUR is within the goodwill of %d EUR." % (amount, limit))
        pay(t, ticket, amount)
    else:
        goodwill(t, ticket, order, amount, limit)


def goodwill(t, ticket, order, amount, limit):
    """More than the goodwill limit needs a person's word."""
    dice, exception = t.tenant.dice, "exc-%s" % t.id
    t.evaluate(GOODWILL, [order], "require_exception", "%d EUR is above the goodwill of %d EUR." % (amount, limit))
    why = dice.pick(["Third complaint about the same fault.", "Our mistake: the order was charged twice.", "Long-standing customer, first request."])
    asked = t.ask(GOODWILL, exception, why, REFUNDS, (1, 30), [order])
    cited = t.tenant.precedents("refund-goodwill", t.now)
    if cited and dice.chance(58):
        t.cite(dice.pick(cited[-9:]).id, "A comparable goodwill refund was granted.", "0.%d" % dice.between(52, 96), REFUNDS)
    granted = dice.chance(70)
    boss = LUKASZ if amount < 70 else JURGEN
    t.decide(("exception", exception), "approved" if granted else "rejected", boss, "Fair." if granted else "A voucher is enough.", (20, 900), asked)
    if granted:
        pay(t, ticket, amount)
    else:
        t.finish("abandoned", "A voucher was offered instead.", (5, 90))


def pay(t, ticket, amount):
    dice, action = t.tenant.dice, "act-%s-refund" % t.id
    t.propose(action, "refund", ticket, "payments", [("refunded_eur", 0, amount)], REFUNDS)
    if dice.chance(8):
        t.commit(action, "failure", error="The card has expired.")
        t.commit(action, "success", reference="voucher-%d" % dice.between(1_000, 9_999), minutes=(60, 700))
    else:
        t.commit(action, reference="rf-%d" % dice.between(500_000, 599_999))
    t.finish("success", "%d EUR returned." % amount, (1, 40))


def escalation(tenant, trace_id, start):
    """A ticket that waits too long, and who may jump the queue."""
    dice, customer, product = tenant.dice, tenant.dice.pick(CUSTOMERS), tenant.dice.pick(PRODUCTS)
    complaint, waited = dice.pick(COMPLAINTS), dice.between(40, 520)
    ticket = ("ticket", "tic-%d" % (60_000 + 19 * int(trace_id[-4:])), "helpdesk", complaint)
    t = Trace(tenant, trace_id, start, ticket[1], ["incident"] if waited > 420 else [])
    t.start("escalation", "%s, waiting for %d minutes" % (complaint, waited), ticket)
    t.entity(customer, "primary", plan=dice.pick(["basic", "plus", "family"]))
    t.entity(product, "related", similar_tickets_today=dice.below(60))
    queue = "queue-%s" % trace_id
    t.input(queue, ("helpdesk", "queue", "tier-2"), waiting_minutes=waited, ahead=dice.between(1, 90))
    limit = SLA.at(t.now)[1]
    late = waited > limit
    t.evaluate(SLA, [queue], "require_exception" if late else "allow", "Waited %d minutes of %d." % (waited, limit))
    if late and not jump(t, queue):
        t.finish("failure", "Stays in the queue; the customer was told.", (10, 60))
        return
    action = "act-%s-assign" % trace_id
    t.propose(action, "assign", ticket, "helpdesk", [("tier", 1, 2), ("owner", "queue", NOOR["actor_id"])])
    t.commit(action)
    solved = dice.chance(88)
    t.finish("success" if solved else "failure", "Solved." if solved else "Could not be reproduced.", (30, 1_900))


def jump(t, queue):
    """Asks to pass the queue; says whether that was granted."""
    dice, exception = t.tenant.dice, "exc-%s" % t.id
    asked = t.ask(SLA, exception, "The promise of the plan is already broken.", minutes=(1, 10), evidence=[queue])
    cited = t.tenant.precedents("escalation-sla", t.now)
    if cited and dice.chance(40):
        t.cite(dice.pick(cited[-9:]).id, "The queue was passed for the same reason.", "0.%d" % dice.between(50, 90))
    granted = dice.chance(80)
    t.decide(("exception", exception), "approved" if granted else "rejected", HANAKO, "Go ahead." if granted else "Others wait longer.", (5, 160), asked)
    return granted


def tell():
    """Refunds and escalations of the whole autumn, started in the order of time."""
    central = lambda at: 2 if at < datetime(2026, 10, 25, 3) else 1
    tenant = Tenant("aurora-support", central, "support-flow", BOT, 2_026)
    plots = [(start, trace_id, refund) for trace_id, start in tenant.schedule(46, "refund-2026-%04d")]
    plots += [(start, trace_id, escalation) for trace_id, start in tenant.schedule(34, "escalation-2026-%04d")]
    for start, trace_id, plot in sorted(plots, key=lambda p: p[:2]):
        plot(tenant, trace_id, start)
    return tenant
