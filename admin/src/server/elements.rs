//! The elements of a JSON array as they stand in its text, so that a large array is never a tree in
//! memory.

const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Splits an array at the commas of its first level and gives no more than the first `most`. What
/// the elements are is not looked at; an element may be blank.
///
/// `None` when the text is not one array, white space around it apart.
pub(crate) fn elements(text: &str, most: usize) -> Option<Vec<&str>> {
    let inner = text.trim_matches(SPACE).strip_prefix('[')?.strip_suffix(']')?;
    if inner.trim_matches(SPACE).is_empty() {
        return Some(Vec::new());
    }
    let (mut found, mut start, mut depth) = (Vec::new(), 0, 0usize);
    let (mut in_string, mut is_escaped) = (false, false);
    for (at, byte) in inner.bytes().chain([b',']).enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 && found.len() < most => {
                found.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    (depth == 0 && !in_string).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::elements as up_to;

    fn elements(text: &str) -> Option<Vec<&str>> {
        up_to(text, 10)
    }

    #[test]
    fn an_array_is_split_at_its_own_commas_only() {
        assert_eq!(elements("[]"), Some(vec![]));
        assert_eq!(elements(" [ \n] "), Some(vec![]));
        assert_eq!(elements("[1, {\"a\":[2,3]} ]"), Some(vec!["1", " {\"a\":[2,3]} "]));
        assert_eq!(elements(r#"["a,\",]",1]"#), Some(vec![r#""a,\",]""#, "1"]));
        assert_eq!(up_to("[1,2,3,4]", 3), Some(vec!["1", "2", "3"]));
        assert_eq!(elements("[1,]"), Some(vec!["1", ""]));
        assert_eq!(elements("[\"é,\",2]"), Some(vec!["\"é,\"", "2"]));
    }

    #[test]
    fn what_is_not_one_array_has_no_elements() {
        for text in ["", "{}", "[", "]", "[1][2]", "[1],[2]", "[{]", "[\"]", "1", "[}{]"] {
            assert_eq!(elements(text), None, "{text}");
        }
    }
}
