//! What is around every page.

use dg_runtime::DatabaseState;

use super::{Region, region};
use crate::console::html::{Html, el};
use crate::console::parts::{Clock, absolute, facts, link, skip, state};
use crate::console::route::{self, Page};
use crate::console::view::Daemon;

/// A page before it is put together.
pub(super) struct Whole<'a> {
    pub(super) page: &'a Page,
    pub(super) title: &'a str,
    /// What it is part of.
    pub(super) way: Vec<(Page, &'a str)>,
    /// What stands above its regions and is never exchanged.
    pub(super) above: Html,
    pub(super) clock: Clock,
}

/// Who this is and how it stands with its database.
pub(super) fn daemon(daemon: &Daemon, clock: Clock) -> Region {
    let (word, since, reason) = match (&daemon.waits_for, &daemon.database) {
        (Some(reason), _) => ("starting", None, Some(("The daemon is starting", reason))),
        (None, DatabaseState::Up) => ("up", None, None),
        (None, DatabaseState::Down { since, reason, .. }) => {
            ("away", Some(*since), Some(("The database is away", reason)))
        }
    };
    let mut database = state(word);
    if let Some(since) = since {
        database = database.and(Html::text(" went ")).and(clock.ago(since));
    }
    let facts = facts(vec![
        ("database", database),
        ("version", Html::text(env!("CARGO_PKG_VERSION"))),
        ("daemon", Html::text(&daemon.owner)),
        ("started", clock.ago(daemon.started_at)),
    ]);
    let notice = reason.map(|(what, reason)| {
        let words = "What needs it is not known now; this page goes on by itself when it is back.";
        el("div")
            .class("notice bad")
            .child(el("strong").text(what))
            .child(el("p").text(format!("{reason}. {words}")))
    });
    region("daemon", notice.into_iter().map(Html::from).collect::<Html>().and(facts))
}

pub(super) fn document(whole: Whole<'_>, regions: Vec<Region>) -> String {
    let Whole { page, title, way, above, clock } = whole;
    let mut regions = regions.into_iter().map(|region| {
        el("section").attr("id", region.id).attr("data-region", "").child(region.html)
    });
    let daemon: Html = regions.next().into_iter().collect();
    let way = (!way.is_empty()).then(|| {
        let way = way.iter().map(|(page, name)| el("li").child(link(page, name)));
        el("nav").attr("aria-label", "Above this page").child(el("ol").class("way").children(way))
    });
    let main = el("main")
        .attr("id", "main")
        .attr("tabindex", "-1")
        .child(daemon)
        .children(way)
        .child(
            el("h1")
                .text(title)
                .attr("id", if *page == Page::Overview { "overview" } else { "title" }),
        )
        .child(above)
        .children(regions);
    let of = format!("as of {}", absolute(clock.now));
    let status = el("p")
        .attr("id", "status")
        .attr("role", "status")
        .child(Html::text(of))
        .child(el("noscript").child(Html::text(" · ")).child(again(page)));
    shell(title, Some(page), Html::from(status), main.into())
}

/// The way to see this page anew where no script does it.
fn again(page: &Page) -> Html {
    link(page, "Refresh")
}

pub(super) fn refusal(title: &str, message: &str) -> String {
    let main = el("main")
        .attr("id", "main")
        .child(el("h1").text(title))
        .child(el("p").class("notice warn").text(message))
        .child(el("p").child(link(&Page::Overview, "To the overview")));
    shell(title, None, Html::default(), main.into())
}

fn shell(title: &str, page: Option<&Page>, status: Html, main: Html) -> String {
    let tenants = Page::Tenants { prefix: String::new(), after: String::new() };
    let entry = |(to, name): (Page, &str)| {
        let entry = el("a").to(&to.link()).text(name);
        match page == Some(&to) {
            true => entry.attr("aria-current", "page"),
            false => entry,
        }
    };
    let entries = [(Page::Overview, "Overview"), (tenants, "Tenants")].map(entry);
    let header = el("header")
        .child(el("span").class("brand").text("DecisionGraph"))
        .child(el("nav").attr("aria-label", "Console").children(entries))
        .child(status);
    let head = el("head")
        .child(el("meta").attr("charset", "utf-8"))
        .child(el("meta").attr("name", "viewport").attr("content", "width=device-width"))
        .child(el("meta").attr("name", "color-scheme").attr("content", "light dark"))
        .child(el("title").text(format!("{title} · DecisionGraph")))
        .child(el("link").attr("rel", "icon").to(&route::icon()))
        .child(el("link").attr("rel", "stylesheet").to(&route::style()))
        .child(el("script").attr("src", route::script()).flag("defer"));
    let mut body = el("body");
    if let Some(page) = page {
        body = body.attr("data-live", route::live(page).as_str());
    }
    let body = body.child(skip("main", "Skip to the content")).child(header).child(main);
    let html = Html::from(el("html").attr("lang", "en").child(head).child(body));
    format!("<!doctype html>\n{}\n", html.as_str())
}
