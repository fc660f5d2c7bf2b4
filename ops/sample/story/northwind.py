"""northwind-retail: shop fittings and point-of-sale; a deal desk that guards discounts."""

from datetime import datetime

from .base import Policy, Tenant, Trace, agent, person

BOT = agent("deal_desk_agent")
INGRID = person("ingrid.sorensen", "Ingrid Sørensen", "VP Sales")
MARCUS = person("marcus.okafor", "Marcus Okafor", "Deal desk lead")
HELENE = person("helene.dubois", "Hélène Dubois", "CFO")
REPS = [
    person("jose.muniz", "José Muñiz", "Account executive"),
    person("amy.lindqvist", "Amy Lindqvist", "Account executive"),
    person("derek.holt", "Derek Holt", "Account executive"),
    person("thu.nguyen", "Thu Nguyễn", "Account executive"),
]

DISCOUNT = Policy("discount-authority", ("09-01", "3.0", 15), ("10-05", "3.1", 12), ("11-02", "4.0", 14))
MARGIN = Policy("margin-floor", ("09-01", "2026.1", 18), ("10-19", "2026.2", 20))
TERMS = Policy("payment-terms", ("09-01", "1", 30), ("10-12", "2", 45))

ACCOUNTS = [
    ("account", slug, "salesforce", name) for slug, name in [
        ("acct-lumen-grocers", "Lumen Grocers Cooperative"), ("acct-halvorsen", "Halvorsen Märkte"),
        ("acct-cafe-zoe", "Café Zoë Group"), ("acct-pine-ridge", "Pine Ridge Hardware"),
        ("acct-bluebird", "Bluebird Pharmacy"), ("acct-oakline", "Oakline Furniture"),
        ("acct-saltmarsh", "Saltmarsh Outdoor"), ("acct-tortilleria-sol", "Tortillería del Sol"),
        ("acct-fjord-and-field", "Fjord & Field"), ("acct-copper-kettle", "Copper Kettle Bakeries"),
        ("acct-redwood-books", "Redwood Books"), ("acct-alpenglow", "Alpenglöw Sport"),
        ("acct-harvest-lane", "Harvest Lane Markets"), ("acct-nimbus-optics", "Nimbus Optics"),
        ("acct-orchid-spa", "Orchid Day Spas"), ("acct-quayside", "Quayside Fish & Deli"),
        ("acct-marigold", "Marigold Toys"), ("acct-stonebridge", "Stonebridge Garden Centres"),
        ("acct-velo-nord", "Vélo Nord"), ("acct-willowbrook", "Willowbrook Veterinary"),
    ]
]
GOODS = [
    "Refrigerated shelving", "Self-checkout lanes", "Handheld scanners", "Electronic price tags",
    "Store lighting refit", "Point-of-sale terminals", "Stockroom racking", "Digital signage",
]
ASKS = [
    "A competitor quoted {d} % and the customer decides this week.",
    "The customer commits to three years if we meet {d} %.",
    "First order of a chain with {n} stores; {d} % opens the account.",
    "Delivery slipped twice this year; {d} % was promised to keep the goodwill.",
    "The order consolidates {n} stores from two suppliers, at {d} %.",
    "Year-end budget: the customer can only sign at {d} %.",
]
YES = [
    "Margin holds and the term is long enough.", "In line with what we agreed for similar chains.",
    "Strategic account; one time only.", "Approved, provided the rollout starts this quarter.",
]
NO = [
    "The margin does not carry it.", "No volume commitment in return.",
    "We gave this account an exception last quarter already.", "Come back with a longer term.",
]


def deal(tenant, trace_id, start):
    """A discount request, from quote to order."""
    dice, number = tenant.dice, trace_id[-4:]
    account, goods, rep = dice.pick(ACCOUNTS), dice.pick(GOODS), dice.pick(REPS)
    value, wanted, stores = 1_000 * dice.between(38, 910), dice.between(4, 31), dice.between(4, 140)
    opportunity = ("opportunity", "opp-%d" % (87_000 + 11 * int(number)), "salesforce", goods)
    tags = ["strategic"] if value > 600_000 else []
    t = Trace(tenant, trace_id, start, opportunity[1], tags)
    t.start("deal_approval", "%s for %s" % (goods, account[3]), opportunity, rep)
    t.entity(account, "related", stores=stores, tier=dice.pick(["gold", "silver", "standard"]))
    quote = "quote-2026-%s" % number
    t.input(quote, ("cpq", "quote", quote), value_usd=value, discount_percent=wanted)
    version, limit = DISCOUNT.at(t.now)
    if wanted <= limit:
        why = "%d %% is within the %d %% of version %s." % (wanted, limit, version)
        t.evaluate(DISCOUNT, [quote], "allow", why)
    else:
        wanted = discount_exception(t, quote, wanted, limit, rep, account, stores, value)
    if wanted:
        book(t, opportunity, wanted)
    else:
        t.finish("abandoned", "%s withdrew the request." % rep["name"], (30, 2_000))


def discount_exception(t, quote, wanted, limit, rep, account, stores, value):
    """Asks for more than the limit; gives the discount agreed, or 0."""
    dice = t.tenant.dice
    why = "%d %% is above the %d %% that a rep may give." % (wanted, limit)
    t.evaluate(DISCOUNT, [quote], "require_exception", why)
    margin, floor = 44 - wanted + dice.between(-4, 4), MARGIN.at(t.now)[1]
    holds = margin >= floor
    t.evaluate(MARGIN, [quote], "allow" if holds else "deny", "Margin of %d %%, floor %d %%." % (margin, floor))
    exception = "exc-%s-1" % t.id
    asked = t.ask(DISCOUNT, exception, dice.pick(ASKS).format(d=wanted, n=stores), rep, evidence=[quote])
    cited = t.tenant.precedents("discount-authority", t.now)
    if cited and dice.chance(62):
        earlier = dice.pick(cited[-12:])
        t.cite(earlier.id, "An earlier exception to the discount limit was approved.", "0.%d" % dice.between(61, 94))
    boss = MARCUS if wanted <= 20 else INGRID
    granted = holds and dice.chance(82) or dice.chance(12)
    t.decide(("exception", exception), "approved" if granted else "rejected", boss, dice.pick(YES if granted else NO), cause=asked)
    if granted and value > 500_000 and wanted > 22:
        t.decide(("exception", exception), "approved", HELENE, "Seen by finance; within the quarter's allowance.")
    if granted:
        return wanted
    return 0 if dice.chance(45) else second_try(t, wanted, limit, rep, boss)


def second_try(t, wanted, limit, rep, boss):
    """Asks for half of what was refused."""
    second, lower = "exc-%s-2" % t.id, limit + (wanted - limit) // 2
    t.ask(DISCOUNT, second, "Reduced to %d %% for a two-year term." % lower, rep, (120, 2_400))
    t.decide(("exception", second), "approved", boss, "That we can carry.")
    return lower


def book(t, opportunity, percent):
    """Writes the agreed discount into the order system."""
    dice, action = t.tenant.dice, "act-%s-discount" % t.id
    t.propose(action, "apply_discount", opportunity, "cpq", [("discount_percent", 0, percent)])
    if dice.chance(9):
        t.commit(action, "failure", error="The quote was locked by another user.")
    t.commit(action, reference="SO-%d" % dice.between(310_000, 389_999), minutes=(3, 40))
    won = dice.chance(90)
    t.finish("success" if won else "failure", "Signed at %d %%." % percent if won else "Lost to a competitor after approval.", (60, 2_900))


def renewal(tenant, trace_id, start):
    """A renewal with a wish for longer payment terms."""
    dice, account, rep = tenant.dice, tenant.dice.pick(ACCOUNTS), tenant.dice.pick(REPS)
    contract = ("contract", "ctr-%d" % (5_100 + 7 * int(trace_id[-4:])), "netsuite", "Service contract")
    days = dice.pick([30, 30, 45, 60, 60, 75, 90])
    t = Trace(tenant, trace_id, start, contract[1])
    t.start("renewal_terms", "Renewal for %s, net %d" % (account[3], days), contract)
    t.entity(account, "related", paid_late_invoices=dice.below(4))
    history = "ledger-%s" % trace_id
    t.input(history, ("netsuite", "ledger", account[1]), open_invoices=dice.below(6), average_days_to_pay=dice.between(19, 64))
    limit = TERMS.at(t.now)[1]
    allowed = days <= limit
    t.evaluate(TERMS, [history], "allow" if allowed else "require_exception", "Net %d asked, net %d allowed." % (days, limit))
    if not allowed:
        exception = "exc-%s-1" % trace_id
        t.ask(TERMS, exception, "%s asks for net %d to match its season." % (account[3], days), rep)
        cited = tenant.precedents("payment-terms", t.now)
        if cited and dice.chance(55):
            t.cite(dice.pick(cited[-8:]).id, "Longer terms were granted before.", "0.%d" % dice.between(58, 90))
        allowed = dice.chance(74)
        t.decide(("exception", exception), "approved" if allowed else "rejected", HELENE, "Pays reliably." if allowed else "Pays late as it is.")
    action = "act-%s-terms" % trace_id
    t.propose(action, "set_payment_terms", contract, "netsuite", [("net_days", 30, days if allowed else limit)])
    t.commit(action)
    t.finish("success", "Renewed at net %d." % (days if allowed else limit))


def deal_0031(tenant, trace_id, start):
    """The precedent: Halvorsen Märkte, September."""
    opportunity = ("opportunity", "opp-87341", "salesforce", "Refrigerated shelving")
    t = Trace(tenant, trace_id, start, "opp-87341", ["strategic", "multi-year"])
    t.answered = True
    t.start("deal_approval", "Refrigerated shelving for Halvorsen Märkte, three years", opportunity, REPS[1])
    t.entity(ACCOUNTS[1], "related", stores=64, tier="silver")
    t.input("quote-2026-0031", ("cpq", "quote", "quote-2026-0031"), value_usd=352_000, discount_percent=21, term_months=36)
    t.evaluate(DISCOUNT, ["quote-2026-0031"], "require_exception", "21 % is above the 15 % that a rep may give.")
    t.evaluate(MARGIN, ["quote-2026-0031"], "allow", "Margin of 24 %, floor 18 %.")
    asked = t.ask(DISCOUNT, "exc-deal-2026-0031-1", "Three-year term in return for 21 %; the rival offer is 23 % over one year.", REPS[1], evidence=["quote-2026-0031"])
    t.decide(("exception", "exc-deal-2026-0031-1"), "approved", INGRID, "A three-year term is worth more than six points of discount.", cause=asked)
    t.propose("act-deal-2026-0031-discount", "apply_discount", opportunity, "cpq", [("discount_percent", 0, 21), ("term_months", 12, 36)])
    t.commit("act-deal-2026-0031-discount", reference="SO-318204")
    t.finish("success", "Signed for three years at 21 %.")


def deal_0147(tenant, trace_id, start):
    """The flagship: Lumen Grocers, November. Read it from top to bottom."""
    opportunity = ("opportunity", "opp-88617", "salesforce", "Refrigerated shelving")
    quote, history = "quote-2026-0147", "history-lumen-grocers"
    t = Trace(tenant, trace_id, start, "opp-88617", ["strategic", "multi-year"])
    t.answered = True
    t.start("deal_approval", "Refrigerated shelving for Lumen Grocers, 112 stores, three years", opportunity, REPS[0])
    t.entity(ACCOUNTS[0], "related", stores=112, tier="gold", customer_since="2019")
    t.input(quote, ("cpq", "quote", quote), value_usd=684_000, discount_percent=22, term_months=36)
    t.input(history, ("salesforce", "account", ACCOUNTS[0][1]), orders_last_year=9, late_payments=0, exceptions_last_year=0)
    t.evaluate(DISCOUNT, [quote], "require_exception", "22 % is above the 14 % that a rep may give since version 4.0.")
    t.evaluate(MARGIN, [quote, history], "allow", "Margin of 23 %, floor 20 %.")
    asked = t.ask(DISCOUNT, "exc-deal-2026-0147-1", "112 stores for three years; the rival offer is 24 % over one year. We lose the account below 22 %.", REPS[0], evidence=[quote, history])
    t.cite("deal-2026-0031", "Same goods, same three-year term: 21 % was approved for Halvorsen Märkte in September.", "0.93")
    t.decide(("exception", "exc-deal-2026-0147-1"), "approved", INGRID, "Halvorsen has kept its volumes since; the same reasoning holds here.", (50, 90), asked)
    t.decide(("exception", "exc-deal-2026-0147-1"), "approved", HELENE, "Approved for this term only; no price review before month 24.", (120, 180), asked)
    t.propose("act-deal-2026-0147-discount", "apply_discount", opportunity, "cpq", [("discount_percent", 0, 22), ("term_months", 12, 36)])
    t.commit("act-deal-2026-0147-discount", reference="SO-377120")
    t.finish("success", "Signed for three years at 22 %; the exception and its precedent are on record.", (1_080, 1_200))


def deal_0158(tenant, trace_id, start):
    """The echo: Café Zoë cites the flagship and is refused."""
    opportunity = ("opportunity", "opp-88738", "salesforce", "Refrigerated shelving")
    quote = "quote-2026-0158"
    t = Trace(tenant, trace_id, start, "opp-88738")
    t.answered = True
    t.start("deal_approval", "Refrigerated shelving for Café Zoë Group, one year", opportunity, REPS[3])
    t.entity(ACCOUNTS[2], "related", stores=18, tier="standard")
    t.input(quote, ("cpq", "quote", quote), value_usd=97_000, discount_percent=22, term_months=12)
    t.evaluate(DISCOUNT, [quote], "require_exception", "22 % is above the 14 % that a rep may give.")
    t.evaluate(MARGIN, [quote], "deny", "Margin of 17 %, floor 20 %.")
    asked = t.ask(DISCOUNT, "exc-deal-2026-0158-1", "Lumen Grocers got 22 % on the same goods.", REPS[3], evidence=[quote])
    t.cite("deal-2026-0147", "The same discount on the same goods.", "0.71")
    t.decide(("exception", "exc-deal-2026-0158-1"), "rejected", MARCUS, "Lumen signed for three years and 112 stores. This is one year and 18.", (40, 120), asked)
    t.finish("abandoned", "The customer keeps its present shelving for another year.", (500, 700))


SPECIAL = {"deal-2026-0031": deal_0031, "deal-2026-0147": deal_0147, "deal-2026-0158": deal_0158}


def tell():
    """Deals and renewals of the whole autumn, started in the order of time."""
    central = lambda at: -5 if at < datetime(2026, 11, 1, 2) else -6
    tenant = Tenant("northwind-retail", central, "deal-orchestrator", BOT, 147)
    plots = [(start, trace_id, SPECIAL.get(trace_id, deal)) for trace_id, start in tenant.schedule(172, "deal-2026-%04d")]
    plots += [(start, trace_id, renewal) for trace_id, start in tenant.schedule(26, "renewal-2026-%04d")]
    for start, trace_id, plot in sorted(plots, key=lambda p: p[:2]):
        plot(tenant, trace_id, start)
    return tenant
