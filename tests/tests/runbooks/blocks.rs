//! The commands in the code blocks of a page, with what the page shows of their answers.
//!
//! A command begins with `$ ` (or `# `, as root) and goes on over lines while a quote is open or the
//! line ends in a backslash; what follows is its output. `<!-- not run: why -->` before a block says
//! that no test runs it.

/// A command of a page.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Where it stands, as `page:line`.
    pub(crate) place: String,
    /// What is typed.
    pub(crate) text: String,
    /// What the page shows that it prints.
    pub(crate) output: Vec<String>,
    /// Whether the page shows the prompt of root.
    pub(crate) as_root: bool,
}

/// A code block of a page.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// The heading above it.
    pub(crate) section: String,
    /// Why no test runs it.
    pub(crate) not_run: Option<String>,
    /// Its commands.
    pub(crate) commands: Vec<Shown>,
}

/// The blocks of commands of a page.
pub(crate) fn blocks(page: &str, text: &str) -> Vec<Block> {
    let (mut blocks, mut section, mut not_run) = (Vec::new(), String::new(), None);
    let mut lines = text.lines().enumerate();
    while let Some((_, line)) = lines.next() {
        if let Some(reason) = line.strip_prefix("<!-- not run: ") {
            not_run = Some(reason.trim_end_matches("-->").trim().to_owned());
        } else if line.starts_with('#') {
            section = line.trim_start_matches('#').trim().to_owned();
        } else if line == "```console" {
            let body = lines.by_ref().take_while(|(_, line)| *line != "```");
            let commands = commands(page, body);
            blocks.push(Block { section: section.clone(), not_run: not_run.take(), commands });
        } else if line.starts_with("```") {
            lines.by_ref().take_while(|(_, line)| *line != "```").for_each(drop);
        }
    }
    assert_eq!(not_run, None, "{page}: no block follows");
    blocks
}

fn commands<'a>(page: &str, body: impl Iterator<Item = (usize, &'a str)>) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    for (number, line) in body {
        let prompts = ["$ ", "# ", "postgres$ "];
        let begins = prompts.iter().find_map(|prompt| line.strip_prefix(prompt));
        match (commands.last_mut(), begins) {
            (Some(last), _) if last.output.is_empty() && goes_on(&last.text) => {
                last.text = format!("{}\n{line}", last.text);
            }
            (_, Some(text)) => commands.push(Shown {
                place: format!("{page}:{}", number + 1),
                text: text.to_owned(),
                output: Vec::new(),
                as_root: line.starts_with('#'),
            }),
            (Some(last), None) => last.output.push(line.to_owned()),
            (None, None) => panic!("{page}:{}: output of no command: {line}", number + 1),
        }
    }
    commands
}

/// Whether a command is not at its end.
fn goes_on(text: &str) -> bool {
    let (mut quote, mut escaped) = (None, false);
    for letter in text.chars() {
        match (quote, letter) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            _ => {}
        }
    }
    let in_loop = text.starts_with("for ") && !text.ends_with("done");
    quote.is_some() || escaped || in_loop
}

/// The words of each call of `decisiongraph` in a command, as a shell would pass them.
pub(crate) fn calls(text: &str) -> Vec<Vec<String>> {
    let mut calls = vec![Vec::new()];
    let (mut word, mut quote, mut letters) = (None::<String>, None, text.chars().peekable());
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(letter);
            }
            (Some(open), _) if open == letter => quote = None,
            // The number of a stream is no word of the command.
            (None, '>') if word.as_deref() == Some("2") => {
                word = None;
                calls.push(Vec::new());
            }
            (None, '|' | ';' | '&' | '(' | ')' | '\n' | '<' | '>') => {
                calls.last_mut().unwrap().extend(word.take());
                calls.push(Vec::new());
            }
            (None, '#') if word.is_none() => {
                letters.by_ref().take_while(|l| *l != '\n').for_each(drop);
            }
            (None, ' ') => calls.last_mut().unwrap().extend(word.take()),
            _ => word.get_or_insert_default().push(letter),
        }
    }
    calls.last_mut().unwrap().extend(word);
    calls.retain(|words| words.first().is_some_and(|name| name == "decisiongraph"));
    calls
}

#[test]
fn commands_are_told_from_what_they_print() {
    let text = "# Page\n## Steps\n<!-- not run: why -->\n```console\n$ a 'b\n$ c' d\nout\n# e \\\n  f\n```\n```\n$ g\n```\n";
    let found = blocks("p", text);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].section.as_str(), found[0].not_run.as_deref()), ("Steps", Some("why")));
    let told: Vec<_> = found[0].commands.iter().map(|one| (&*one.text, one.output.len())).collect();
    assert_eq!(told, [("a 'b\n$ c' d", 1), ("e \\\n  f", 0)]);
    assert_eq!(found[0].commands[1].place, "p:8");
}

#[test]
fn calls_are_found_wherever_they_stand() {
    let table: [(&str, &[&[&str]]); 5] = [
        ("decisiongraph status", &[&["decisiongraph", "status"]]),
        (
            "id=$(decisiongraph rebuild all --reason 'a b')",
            &[&["decisiongraph", "rebuild", "all", "--reason", "a b"]],
        ),
        (
            "decisiongraph export > x; cat x | decisiongraph import -",
            &[&["decisiongraph", "export"], &["decisiongraph", "import", "-"]],
        ),
        ("echo decisiongraph", &[]),
        (
            "decisiongraph psql -c \"SELECT '{\\\"a\\\"}'\" &",
            &[&["decisiongraph", "psql", "-c", "SELECT '{\"a\"}'"]],
        ),
    ];
    for (text, expected) in table {
        assert_eq!(calls(text), expected, "{text}");
    }
}
