//! "Did you mean": the known name nearest to an unknown one.

/// The name out of `known` that was probably meant by `word`: one with few typing errors between,
/// else the only one that contains it.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase().replace('-', "_");
    let known: Vec<&str> = known.collect();
    let least = known.iter().map(|name| (distance(&word, name), *name)).min();
    match least {
        Some((errors, name)) if errors <= 1 + word.chars().count() / 4 => Some(name),
        _ => only_one_containing(&word, &known),
    }
}

fn only_one_containing<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let mut containing = known.iter().filter(|name| word.len() >= 4 && name.contains(word));
    match (containing.next(), containing.next()) {
        (Some(name), None) => Some(*name),
        _ => None,
    }
}

/// Insertions, deletions, replacements and swaps of neighbours from `a` to `b`.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::KEYS;

    #[test]
    fn counts_typing_errors() {
        let table = [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abd", 1)];
        for (a, b, expected) in table.into_iter().chain([("abcd", "abdc", 1), ("ab", "xaby", 2)]) {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn suggests_the_key_that_was_meant() {
        let table = [
            ("pool_sze", Some("pool_size")),
            ("pool-size", Some("pool_size")),
            ("POOL_SIZE", Some("pool_size")),
            ("databse_url", Some("database_url")),
            ("log_lvl", Some("log_level")),
            ("porjections", Some("projections")),
            ("poll_interval_ms", Some("projection_poll_interval_ms")),
            ("retry", None),
            ("x", None),
            ("colour", None),
        ];
        for (word, expected) in table {
            assert_eq!(nearest(word, KEYS.iter().map(|key| key.name)), expected, "{word}");
        }
    }
}
