//! Which metrics and labels an expression of Prometheus asks for. Reads what our files have, no more:
//! whether an expression is well made is for `promtool` to say.

use std::collections::BTreeSet;

use crate::Names;

/// Words that are no metrics.
const WORDS: [&str; 17] = [
    "absent",
    "and",
    "count",
    "deriv",
    "histogram_quantile",
    "increase",
    "max",
    "last_over_time",
    "max_over_time",
    "min",
    "min_over_time",
    "or",
    "rate",
    "sum",
    "time",
    "topk",
    "unless",
];

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

/// A metric, and the matchers of its labels: label, sign, value.
#[derive(Debug)]
struct Metric {
    place: usize,
    name: String,
    matchers: Vec<(String, String, String)>,
}

/// Labels that are named beside `by`, `on` or `ignoring`.
#[derive(Debug)]
struct Group {
    word: String,
    labels: Vec<String>,
    /// Where what they are about begins, and for `by` where it ends.
    from: usize,
    to: usize,
}

/// An expression, taken apart.
#[derive(Debug)]
pub(crate) struct Query {
    metrics: Vec<Metric>,
    groups: Vec<Group>,
}

impl Query {
    pub(crate) fn of(expr: &str) -> Query {
        let tokens = tokens(expr);
        let (mut query, mut at) = (Query { metrics: Vec::new(), groups: Vec::new() }, 0);
        while at < tokens.len() {
            let Token::Word(word) = &tokens[at] else {
                at += 1;
                continue;
            };
            let place = at;
            at += 1;
            if ["by", "on", "ignoring"].contains(&word.as_str()) {
                let end = closing(&tokens, at);
                let labels = tokens[at..end].iter().filter_map(Token::word).collect();
                let to = if word == "by" { closing(&tokens, end + 1) } else { tokens.len() };
                query.groups.push(Group { word: word.clone(), labels, from: end + 1, to });
                at = end + 1;
            } else if !WORDS.contains(&word.as_str()) {
                let mut matchers = Vec::new();
                if tokens.get(at) == Some(&Token::Sign('{')) {
                    let end = closing(&tokens, at);
                    matchers = self::matchers(&tokens[at + 1..end]);
                    at = end + 1;
                }
                query.metrics.push(Metric { place, name: word.clone(), matchers });
            }
        }
        query
    }

    /// All labels that results are grouped by.
    pub(crate) fn grouped(&self) -> BTreeSet<String> {
        let by = self.groups.iter().filter(|group| group.word == "by");
        by.flat_map(|group| group.labels.clone()).collect()
    }

    /// The labels of what comes out: those of the first metric, or of its groups.
    pub(crate) fn labels_of_result(&self, known: &Names) -> BTreeSet<String> {
        let first = &self.metrics[0];
        match self.groups.iter().find(|group| group.from <= first.place && first.place < group.to) {
            Some(group) => group.labels.iter().cloned().collect(),
            None => known[&first.name].keys().cloned().collect(),
        }
    }

    /// What it asks for that is not known.
    pub(crate) fn problems(&self, known: &Names) -> Vec<String> {
        let mut problems = Vec::new();
        for Metric { name, matchers, .. } in &self.metrics {
            let Some(labels) = known.get(name) else {
                problems.push(format!("there is no {name}"));
                continue;
            };
            for (label, sign, value) in matchers {
                match labels.get(label) {
                    None => problems.push(format!("{name} has no label {label}")),
                    // A pattern or a variable may stand for anything.
                    Some(values) if ["=", "!="].contains(&sign.as_str()) => {
                        if !values.contains(value) {
                            problems.push(format!("{name} has no {label} {value}"));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        for group in &self.groups {
            let after = |metric: &&Metric| (group.from..group.to).contains(&metric.place);
            let mut about: Vec<&Metric> = self.metrics.iter().filter(after).collect();
            if group.word != "by" {
                // Both sides must have them; what they are held against stands right before.
                about.truncate(1);
                about.extend(self.metrics.iter().rfind(|metric| metric.place < group.from));
            }
            for (metric, label) in
                about.iter().flat_map(|one| group.labels.iter().map(move |l| (one, l)))
            {
                if known.get(&metric.name).is_some_and(|labels| !labels.contains_key(label)) {
                    problems.push(format!("{} cannot be {} {label}", metric.name, group.word));
                }
            }
        }
        problems
    }
}

impl Token {
    fn word(&self) -> Option<String> {
        if let Token::Word(word) = self { Some(word.clone()) } else { None }
    }
}

/// Where the bracket closes that opens here.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('(' | '{') => depth += 1,
            Token::Sign(')' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    panic!("a bracket does not close: {tokens:?}")
}

fn matchers(tokens: &[Token]) -> Vec<(String, String, String)> {
    let of = |tokens: &[Token]| {
        let [Token::Word(label), signs @ .., Token::Text(value)] = tokens else {
            panic!("no matcher: {tokens:?}")
        };
        let sign = signs.iter().map(|sign| match sign {
            Token::Sign(sign) => *sign,
            other => panic!("no sign: {other:?}"),
        });
        (label.clone(), sign.collect(), value.clone())
    };
    tokens.split(|token| *token == Token::Sign(',')).map(of).collect()
}

/// Numbers and ranges of time are left out.
fn tokens(expr: &str) -> Vec<Token> {
    let (mut tokens, mut rest) = (Vec::new(), expr);
    while let Some(first) = rest.chars().next() {
        let length = |part: fn(char) -> bool| rest.find(|c| !part(c)).unwrap_or(rest.len());
        let taken = match first {
            '"' => {
                let text = rest[1..].split('"').next().unwrap();
                tokens.push(Token::Text(text.to_owned()));
                text.len() + 2
            }
            '[' => rest.find(']').unwrap() + 1,
            '0'..='9' => length(|c| c.is_ascii_alphanumeric() || c == '.'),
            'a'..='z' | 'A'..='Z' | '_' => {
                let end = length(|c| c.is_ascii_alphanumeric() || "_:".contains(c));
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                tokens.push(Token::Sign(c));
                c.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    tokens
}
