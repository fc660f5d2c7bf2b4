"""harbor-bank: payouts to merchants, and the review of alerts about them."""

from .base import Policy, Tenant, Trace, agent, person

BOT = agent("payout_agent")
SCREEN = agent("screening_agent")
TOMAS = person("tomas.ferreira", "Tomás Ferreira", "Head of fraud review")
AOIFE = person("aoife.ni-bhriain", "Aoife Ní Bhriain", "Reporting officer")
PRIYA = person("priya.raghunathan", "Priya Raghunathan", "Treasury lead")
DUTY = {"actor_type": "role", "actor_id": "duty_officer", "name": "Duty officer"}

LIMITS = Policy("payout-limits", ("09-01", "7", 50_000), ("10-13", "8", 35_000))
FRAUD = Policy("fraud-screening", ("09-01", "2026-08", 700), ("10-26", "2026-10", 640))

MERCHANTS = [
    ("merchant", slug, "core-ledger", name) for slug, name in [
        ("mer-104", "Aurelia Travel"), ("mer-117", "Björk & Daughters Ceramics"),
        ("mer-122", "Cobalt Games"), ("mer-139", "Délices de Lyon"), ("mer-150", "Emberlight Candles"),
        ("mer-163", "Fábrica Norte"), ("mer-171", "Gallant Bikes"), ("mer-188", "Hoshi Tea 星茶"),
        ("mer-196", "Ítaca Sailing"), ("mer-203", "Juniper Tickets"), ("mer-219", "Kraków Amber"),
        ("mer-227", "Lighthouse Tutors"), ("mer-230", "Mirabel Jewellers"), ("mer-248", "Nordlys Lamps"),
        ("mer-255", "Opaline Watches"), ("mer-261", "Petrichor Plants"),
    ]
]
SIGNS = [
    "Payouts doubled within three days", "New bank account an hour before the payout",
    "Refund share far above the sector", "Many small sales from one device",
    "Sales at night in a daytime trade", "Name of the payee differs from the merchant",
]


def payout(tenant, trace_id, start):
    """The release of one merchant's money."""
    dice, merchant, number = tenant.dice, tenant.dice.pick(MERCHANTS), int(trace_id[-4:])
    amount, score = 100 * dice.between(12, 1_180), dice.between(60, 760)
    order = ("payout", "po-%d" % (640_000 + 13 * number), "core-ledger", "Payout")
    t = Trace(tenant, trace_id, start, order[1], ["high-value"] if amount > 90_000 else [])
    t.start("payout_release", "Payout of %d EUR to %s" % (amount, merchant[3]), order)
    t.entity(merchant, "related", months_active=dice.between(3, 80))
    balance, screening = "balance-%s" % trace_id, "score-%s" % trace_id
    t.input(balance, ("core-ledger", "balance", merchant[1]), amount_eur=amount, available_eur=amount + 50 * dice.below(900))
    t.input(screening, ("screening", "score", merchant[1]), score=score)
    threshold = FRAUD.at(t.now)[1]
    if score > threshold:
        t.evaluate(FRAUD, [screening], "deny", "Score %d is above %d." % (score, threshold))
        t.finish("failure", "Held and handed to fraud review.")
        return
    t.evaluate(FRAUD, [screening], "allow", "Score %d, threshold %d." % (score, threshold))
    released = within_limit(t, balance, amount, merchant) or payout_exception(t, amount, merchant)
    if released:
        release(t, order, amount)
    else:
        t.finish("abandoned", "Split into smaller payouts over the coming days.", (20, 300))


def within_limit(t, balance, amount, merchant):
    limit = LIMITS.at(t.now)[1]
    fits = amount <= limit
    why = "%d EUR against a limit of %d EUR for %s." % (amount, limit, merchant[3])
    t.evaluate(LIMITS, [balance], "allow" if fits else "require_exception", why)
    return fits


def payout_exception(t, amount, merchant):
    """Asks to exceed the limit once; says whether that was granted."""
    dice, exception = t.tenant.dice, "exc-%s" % t.id
    why = dice.pick(["Season peak, covered by the balance", "Supplier must be paid before the weekend", "Delayed payout of last week included"])
    asked = t.ask(LIMITS, exception, "%s: %s." % (merchant[3], why), minutes=(1, 12))
    cited = t.tenant.precedents("payout-limits", t.now)
    if cited and dice.chance(48):
        t.cite(dice.pick(cited[-10:]).id, "A payout above the limit was released before.", "0.%d" % dice.between(55, 95))
    granted = dice.chance(77)
    boss = DUTY if amount < 60_000 else PRIYA
    reason = "Covered and explained." if granted else "The balance does not explain it."
    t.decide(("exception", exception), "approved" if granted else "rejected", boss, reason, (10, 400), asked)
    return granted


def release(t, order, amount):
    """Sends the money; the scheme sometimes refuses at first."""
    dice, action = t.tenant.dice, "act-%s-release" % t.id
    reserve = 10 if dice.chance(30) else 0
    proposed = t.propose(action, "release_payout", order, "sepa-gateway", [("state", "held", "released"), ("reserve_percent", 0, reserve)])
    if amount > 90_000:
        t.decide(("action", action), "approved", TOMAS, "Second pair of eyes.", (5, 120), proposed)
    if dice.chance(7):
        t.commit(action, "failure", error="The payee's bank did not answer.")
    t.commit(action, "partial" if reserve else "success", reference="SEPA-%d" % dice.between(7_000_000, 7_999_999))
    t.finish("success", "Released%s." % (", %d %% kept in reserve" % reserve if reserve else ""), (1, 12))


def alert(tenant, trace_id, start):
    """The review of a suspicion: hold, look, release or close the account."""
    dice, merchant, sign = tenant.dice, tenant.dice.pick(MERCHANTS), tenant.dice.pick(SIGNS)
    case = ("alert", "al-%d" % (9_000 + 3 * int(trace_id[-4:])), "screening", sign)
    t = Trace(tenant, trace_id, start, case[1])
    t.start("fraud_review", "%s: %s" % (merchant[3], sign), case, SCREEN)
    t.entity(merchant, "related", open_alerts=dice.between(1, 4))
    score, signal = dice.between(520, 980), "signal-%s" % trace_id
    t.input(signal, ("screening", "score", merchant[1]), score=score, events_seen=dice.between(6, 240))
    if dice.chance(60):
        t.input("papers-%s" % trace_id, ("case-archive", "document", "doc-%d" % dice.between(2_000, 9_999)), pages=dice.between(1, 30))
    threshold = FRAUD.at(t.now)[1]
    if score <= threshold:
        t.evaluate(FRAUD, [signal], "allow", "Score %d stays below %d." % (score, threshold))
        t.finish("success", "Nothing found; the alert is closed.", (10, 200))
        return
    t.evaluate(FRAUD, [signal], "deny", "Score %d is above %d." % (score, threshold))
    hold = "act-%s-hold" % trace_id
    t.propose(hold, "hold_payouts", merchant, "core-ledger", [("payouts", "open", "held")], SCREEN)
    t.commit(hold)
    review(t, merchant, signal)


def review(t, merchant, signal):
    """A person looks at what the screening held."""
    dice, exception = t.tenant.dice, "exc-%s" % t.id
    asked = t.ask(FRAUD, exception, "%s explains the pattern and asks for release." % merchant[3], evidence=[signal])
    cited = t.tenant.precedents("fraud-screening", t.now)
    if cited and dice.chance(50):
        t.cite(dice.pick(cited[-10:]).id, "The same kind of signal was cleared before.", "0.%d" % dice.between(50, 92))
    cleared = dice.chance(63)
    reason = "The papers match the deliveries." if cleared else "The papers do not match."
    t.decide(("exception", exception), "approved" if cleared else "rejected", TOMAS, reason, (60, 2_600), asked)
    action = "act-%s-%s" % (t.id, "release" if cleared else "close")
    after = "open" if cleared else "closed"
    proposed = t.propose(action, "set_payout_state", merchant, "core-ledger", [("payouts", "held", after)])
    if not cleared:
        t.decide(("action", action), "approved", AOIFE, "Reported to the authority.", (60, 1_400), proposed)
    t.commit(action)
    t.finish("success" if cleared else "failure", "Cleared." if cleared else "Relationship ended.", (5, 200))


def tell():
    """Payouts and alerts of the whole autumn, started in the order of time."""
    tenant = Tenant("harbor-bank", lambda at: 0, "payout-control", BOT, 1_041)
    plots = [(start, trace_id, payout) for trace_id, start in tenant.schedule(66, "payout-2026-%04d")]
    plots += [(start, trace_id, alert) for trace_id, start in tenant.schedule(28, "alert-2026-%04d")]
    for start, trace_id, plot in sorted(plots, key=lambda p: p[:2]):
        plot(tenant, trace_id, start)
    return tenant
