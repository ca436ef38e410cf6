//! Examples in the help of every command, each written once: a command shows those of its group that are about it, and
//! a group without examples the first of each of its commands.

use clap::Command;

/// Gives every command of a tree its examples.
pub fn with_examples(program: Command) -> Command {
    let path = program.get_name().to_owned();
    complete(program, &path, &[])
}

fn complete(command: Command, path: &str, of_group: &[String]) -> Command {
    let told = told(&command);
    let own = examples(&told);
    let command = command.mut_subcommands(|inner| {
        let path = format!("{path} {}", inner.get_name());
        complete(inner, &path, &own)
    });
    if own.iter().any(|example| is_about(example, path)) {
        return command;
    }
    let mut found: Vec<String> =
        of_group.iter().filter(|example| is_about(example, path)).cloned().collect();
    if found.is_empty() {
        found = command.get_subcommands().filter_map(first_example).collect();
    }
    if found.is_empty() {
        return command;
    }
    let title = if found.len() == 1 { "Example" } else { "Examples" };
    let examples = format!("{title}:\n{}", found.join("\n"));
    command.after_help(if told.is_empty() { examples } else { format!("{told}\n\n{examples}") })
}

/// What a command's help ends with.
fn told(command: &Command) -> String {
    command.get_after_help().map(ToString::to_string).unwrap_or_default()
}

fn first_example(command: &Command) -> Option<String> {
    examples(&told(command)).into_iter().next()
}

/// The examples of a text: indented lines that call the program, each with those that it goes on in.
fn examples(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        match found.last_mut().filter(|_| goes_on) {
            Some(example) => {
                example.push('\n');
                example.push_str(line);
            }
            None if line.starts_with(' ') && call(line).starts_with("northstar ") => {
                found.push(line.to_owned());
            }
            None => continue,
        }
        goes_on = line.ends_with('\\');
    }
    found
}

/// What an example calls, without the variables before it.
fn call(example: &str) -> String {
    let words = example.split_whitespace().skip_while(|word| word.contains('='));
    words.collect::<Vec<_>>().join(" ")
}

fn is_about(example: &str, path: &str) -> bool {
    call(example).strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::Northstar;

    /// What prints something else than one JSON document, and what that is.
    const NO_JSON: [(&str, &str); 7] = [
        ("northstar up", "a line by --ready-json, then its log"),
        ("northstar serve", "its log"),
        ("northstar completion", "a script"),
        ("northstar contract codegen", "source text"),
        ("northstar subject export", "JSON Lines"),
        ("northstar subscription tail", "JSON Lines"),
        ("northstar audit export", "JSON Lines"),
    ];

    /// Every command of the tree with its path.
    fn all() -> Vec<(String, Command)> {
        fn add(command: &Command, path: &str, all: &mut Vec<(String, Command)>) {
            all.push((path.to_owned(), command.clone()));
            for inner in command.get_subcommands() {
                add(inner, &format!("{path} {}", inner.get_name()), all);
            }
        }
        let mut all_of_them = Vec::new();
        add(&with_examples(Northstar::command()), "northstar", &mut all_of_them);
        all_of_them
    }

    /// The words of an example as a shell reads them, up to where its output goes or a comment begins.
    fn words(example: &str) -> Vec<String> {
        let text = example.replace("\\\n", " ");
        let (mut words, mut word) = (Vec::new(), None::<String>);
        let (mut quote, mut spaces) = (None, 0);
        for letter in text.trim().chars() {
            match (quote, letter) {
                (Some(open), _) if open == letter => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(letter);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                _ => word.get_or_insert_default().push(letter),
            }
            spaces = if letter == ' ' { spaces + 1 } else { 0 };
            // What an example says about itself stands apart from it.
            if spaces == 4 && quote.is_none() && !example.contains('\\') {
                break;
            }
        }
        words.extend(word);
        let ends = words.iter().position(|word| matches!(word.as_str(), ">" | ">>" | "|" | "&&"));
        words.truncate(ends.unwrap_or(words.len()));
        words.into_iter().skip_while(|word| word.contains('=')).collect()
    }

    #[test]
    fn every_command_has_examples_that_it_understands() {
        let program = with_examples(Northstar::command());
        for (path, command) in all() {
            let told = told(&command);
            let examples = examples(&told);
            assert!(
                examples.iter().any(|example| is_about(example, &path)),
                "{path} has no example"
            );
            for example in examples {
                let read = program.clone().try_get_matches_from(words(&example));
                let understood = read.as_ref().err().is_none_or(|error| error.exit_code() == 0);
                assert!(understood, "{path}: {example}\n{}", read.expect_err("it is wrong"));
                for line in example.lines() {
                    assert!(line.chars().count() <= 100, "{path}: {line} would be broken");
                }
            }
        }
    }

    #[test]
    fn every_command_prints_json_or_says_why_not() {
        for (path, command) in all().iter().filter(|(_, command)| !command.has_subcommands()) {
            let json = command.get_arguments().any(|argument| argument.get_id() == "json");
            let exempt = NO_JSON.iter().any(|(of, _)| of == path);
            assert!(json != exempt, "{path}: --json is {json}, exempt is {exempt}");
        }
    }

    #[test]
    fn every_command_exits_with_2_when_it_is_used_wrongly() {
        let program = with_examples(Northstar::command());
        for (path, _) in all() {
            let words = path.split(' ').chain(["--no-such-option"]);
            let error = program.clone().try_get_matches_from(words).expect_err("no such option");
            assert_eq!(error.exit_code(), 2, "{path}: {error}");
        }
    }
}
