//! What pages are put together from: times, numbers, states, tables, notices.

use dg_projections::event::rfc3339;
use time::OffsetDateTime;

use super::html::{Element, Html, el};
use super::route::{Link, Page};
use super::view::Seen;
use crate::output::{Tone, ago, duration, grouped, tone};

/// What time it is, and whether the page tells how long ago something was. What is sent live does
/// not, or it would change every second for no reason; the browser fills it in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) now: OffsetDateTime,
    pub(super) is_live: bool,
}

impl Clock {
    /// A moment: how long ago it was, with the time itself beside it.
    pub(super) fn ago(self, at: OffsetDateTime) -> Html {
        let text = match self.is_live {
            true => absolute(at),
            // The script says it in the same words.
            false => ago(at, self.now),
        };
        el("time").attr("datetime", rfc3339(at)).attr("title", absolute(at)).text(text).into()
    }

    /// The same of what need not have been.
    pub(super) fn ago_if(self, at: Option<OffsetDateTime>) -> Html {
        at.map_or_else(nothing, |at| self.ago(at))
    }
}

/// A moment as people read it, in UTC.
pub(super) fn absolute(at: OffsetDateTime) -> String {
    let text = rfc3339(at);
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

/// Where there is nothing to say.
pub(super) fn nothing() -> Html {
    el("span").class("quiet").text("–").into()
}

/// A whole number, grouped.
pub(super) fn number(value: i64) -> Html {
    match value {
        0 => el("span").class("quiet").text("0").into(),
        value => Html::text(grouped(value)),
    }
}

/// Seconds as people say them; nothing for none.
pub(super) fn seconds(value: f64) -> Html {
    if value > 0.0 { Html::text(duration(value)) } else { nothing() }
}

/// A state: its word, and a colour that says the same.
pub(super) fn state(word: &str) -> Html {
    let class = match tone(word) {
        Tone::Good => "state ok",
        Tone::Busy => "state busy",
        Tone::Attention => "state warn",
        Tone::Bad => "state bad",
        Tone::Plain | Tone::Faint => "state",
    };
    el("span").class(class).text(word.replace('_', " ")).into()
}

/// A link to a page.
pub(super) fn link(page: &Page, text: &str) -> Html {
    el("a").to(&page.link()).text(text).into()
}

/// A link to a tenant.
pub(super) fn tenant(name: &str) -> Html {
    link(&Page::Tenant(name.to_owned()), name)
}

/// An identifier, which may break anywhere.
pub(super) fn code(text: &str) -> Html {
    el("code").text(text).into()
}

/// Words of our own, in which commands stand between backticks.
pub(super) fn prose(words: &str) -> Html {
    let part = |(at, part): (usize, &str)| if at % 2 == 1 { code(part) } else { Html::text(part) };
    words.split('`').enumerate().map(part).collect()
}

/// What went wrong.
pub(super) fn error(code: &str, message: &str) -> Html {
    Html::from(el("strong").text(code)).and(Html::text(": ")).and(prose(message))
}

/// What is shown instead of what could not be seen.
pub(super) fn unseen(reason: &str) -> Html {
    el("p").class("quiet").text(format!("Not known now: {reason}.")).into()
}

/// A remark where there is nothing to list.
pub(super) fn empty(text: &str) -> Html {
    el("p").class("quiet").child(prose(text)).into()
}

/// What was seen, or why it was not.
pub(super) fn or_unseen<T>(seen: &Seen<T>, show: impl FnOnce(&T) -> Html) -> Html {
    match seen {
        Ok(value) => show(value),
        Err(reason) => unseen(reason),
    }
}

/// A heading with what stands below it.
pub(super) fn headed(title: &str, body: impl Into<Html>) -> Html {
    Html::from(el("h2").text(title)).and(body)
}

/// How far something is, as a bar and in words.
pub(super) fn progress(done: i64, total: Option<i64>) -> Html {
    let Some(total) = total.filter(|total| *total > 0) else {
        return Html::text(format!("{} events", grouped(done)));
    };
    let percent = (done.clamp(0, total) as f64 * 100.0 / total as f64).floor();
    let bar = el("progress")
        .attr("max", "100")
        .attr("value", percent.to_string())
        .attr("aria-label", "progress");
    let words = format!(" {percent} % · {} of {}", grouped(done), grouped(total));
    Html::from(el("span").class("progress").child(bar).text(words))
}

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Text(&'static str),
    /// A name, which is not broken while there is room.
    Name(&'static str),
    /// Numbers stand under one another.
    Number(&'static str),
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Column::Text(name) | Column::Name(name) | Column::Number(name) => name,
        }
    }

    fn cell(self, name: &'static str) -> Element {
        match self {
            Column::Text(_) => el(name),
            Column::Name(_) => el(name).class("name"),
            Column::Number(_) => el(name).class("number"),
        }
    }
}

/// A table; the first cell of a row is its head. On a narrow screen rows become cards, which takes
/// their meaning from tables: so it is said again.
pub(super) fn table(caption: &str, columns: &[Column], rows: Vec<Vec<Html>>) -> Html {
    let head = columns.iter().map(|column| {
        column.cell("th").attr("scope", "col").attr("role", "columnheader").text(column.name())
    });
    let row = |cells: Vec<Html>| {
        let cells = columns.iter().zip(cells).enumerate().map(|(at, (column, content))| {
            let cell = match at {
                0 => column.cell("th").attr("scope", "row").attr("role", "rowheader"),
                _ => column.cell("td").attr("role", "cell"),
            };
            cell.attr("data-label", column.name()).child(el("div").child(content))
        });
        el("tr").attr("role", "row").children(cells)
    };
    let head =
        el("thead").attr("role", "rowgroup").child(el("tr").attr("role", "row").children(head));
    let body = el("tbody").attr("role", "rowgroup").children(rows.into_iter().map(row));
    el("table")
        .attr("role", "table")
        .child(el("caption").class("unseen").text(caption))
        .child(head)
        .child(body)
        .into()
}

/// Facts: a name and what it is.
pub(super) fn facts(facts: Vec<(&'static str, Html)>) -> Html {
    let fact = |(name, value): (&'static str, Html)| {
        el("div").child(el("dt").text(name)).child(el("dd").child(value))
    };
    el("dl").class("facts").children(facts.into_iter().map(fact)).into()
}

/// A link to a place on this page.
pub(super) fn skip(to: &'static str, text: &str) -> Html {
    el("a").class("skip").to(&Link::anchor(to)).text(text).into()
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn times_are_told_by_their_distance() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let shown = Clock { now, is_live: false }.ago(now - Duration::seconds(3));
        assert_eq!(
            shown.as_str(),
            r#"<time datetime="2027-01-15T07:59:57Z" title="2027-01-15 07:59:57 UTC">3 s ago</time>"#
        );
        let live =
            |seconds| Clock { now: now + Duration::seconds(seconds), is_live: true }.ago(now);
        assert_eq!(live(0), live(9), "nothing has changed");
    }

    #[test]
    fn progress_is_said_in_words_too_and_never_beyond_the_whole() {
        for (done, total, words) in [
            (0, Some(10), "0 % · 0 of 10"),
            (999, Some(1_000), "99 % · 999 of 1,000"),
            (1_001, Some(1_000), "100 % · 1,001 of 1,000"),
            (7, None, "7 events"),
            (0, Some(0), "0 events"),
        ] {
            assert!(progress(done, total).as_str().contains(words), "{words}");
        }
    }

    #[test]
    fn each_cell_of_a_table_knows_its_column() {
        let columns = [Column::Text("Name"), Column::Number("Events")];
        let rows = vec![vec![Html::text("<a>"), number(1234)]];
        let html = table("Things", &columns, rows);
        for part in [
            r#"<th scope="row" role="rowheader" data-label="Name"><div>&lt;a&gt;</div></th>"#,
            r#"<td class="number" role="cell" data-label="Events"><div>1,234</div></td>"#,
            r#"<caption class="unseen">Things</caption>"#,
        ] {
            assert!(html.as_str().contains(part), "{part} is not in {}", html.as_str());
        }
    }
}
