//! Recipes: the options of `pretrain` in a file.
//!
//! A recipe is TOML without tables; a key is a long option without its dashes, a value what would follow
//! it, `true` for an option that takes none. Its options are put before those of the command line, which
//! so have the last word.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, Command};
use toml::de::{DeTable, DeValue};

/// The command that takes recipes.
const COMMAND: &str = "pretrain";
/// The option that names one.
const OPTION: &str = "--recipe";

/// The command line with the options of its recipe written out; as it is if it names none.
///
/// # Errors
///
/// A recipe that cannot be read, is no TOML, or has a key that is no option of the command; the message
/// has file and line.
pub(super) fn expand(words: Vec<OsString>, cli: &Command) -> anyhow::Result<Vec<OsString>> {
    let Some(at) = words.iter().position(|word| word == COMMAND) else {
        return Ok(words);
    };
    let Some(path) = named(&words[at + 1..]) else {
        return Ok(words);
    };
    let command = cli.find_subcommand(COMMAND).context("the command line has `pretrain`")?;
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}", Path::new(&path).display()))?;
    let options = options(&text, command, Path::new(&path))?;
    let (before, after) = words.split_at(at + 1);
    Ok(before
        .iter()
        .cloned()
        .chain(options.into_iter().map(Into::into))
        .chain(after.to_vec())
        .collect())
}

/// The file that `--recipe FILE` or `--recipe=FILE` names.
fn named(words: &[OsString]) -> Option<OsString> {
    let after = words.iter().position(|word| word == OPTION).and_then(|at| words.get(at + 1));
    let joined =
        words.iter().find_map(|word| word.to_str()?.strip_prefix(OPTION)?.strip_prefix('='));
    after.cloned().or_else(|| joined.map(OsString::from))
}

/// The words that a recipe stands for.
fn options(text: &str, command: &Command, path: &Path) -> anyhow::Result<Vec<String>> {
    let line_of = |offset: usize| text[..offset.min(text.len())].matches('\n').count() + 1;
    let place = |offset: usize| format!("{}:{}", path.display(), line_of(offset));
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        anyhow::anyhow!("{}: {}", place(at), error.message())
    })?;
    // In the order of the file, so that the first mistake is the one that is told.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut words = Vec::new();
    for (key, value) in entries {
        let place = place(key.span().start);
        let name: &str = key.get_ref();
        let known = || command.get_arguments().filter(|argument| is_recipe_key(argument));
        let Some(option) = known().find(|known| known.get_long() == Some(name)) else {
            let names: Vec<&str> = known().filter_map(Arg::get_long).collect();
            bail!("{place}: unknown key `{name}`: expected one of {}", names.join(", "));
        };
        let takes_value = matches!(option.get_action(), ArgAction::Set);
        match (value.get_ref(), takes_value) {
            (DeValue::Boolean(true), false) => words.push(format!("--{name}")),
            (DeValue::Boolean(false), false) => {}
            (DeValue::String(value), true) => words.push(format!("--{name}={value}")),
            (DeValue::Integer(value), true) => {
                words.push(format!("--{name}={}", value.as_str().replace('_', "")));
            }
            (DeValue::Float(value), true) => {
                words.push(format!("--{name}={}", value.as_str().replace('_', "")));
            }
            (_, true) => bail!("{place}: `{name}`: expected a string or a number"),
            (_, false) => bail!("{place}: `{name}`: expected true or false"),
        }
    }
    Ok(words)
}

/// Whether a recipe may set an option: all but the one that names it and those of clap.
fn is_recipe_key(option: &Arg) -> bool {
    !matches!(option.get_long(), None | Some("recipe" | "help" | "version" | "json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn command() -> Command {
        let set = |name: &'static str| Arg::new(name).long(name).action(ArgAction::Set);
        let flag = Arg::new("whole-word").long("whole-word").action(ArgAction::SetTrue);
        Command::new(COMMAND).args([set("config"), set("steps"), set("learning-rate"), flag])
    }

    fn words(text: &str) -> anyhow::Result<Vec<String>> {
        options(text, &command(), Path::new("r.toml"))
    }

    #[test]
    fn keys_become_options_in_the_order_of_the_file() {
        let text = "# comment\nsteps = 6_000\nconfig = \"bert-small\"\nlearning-rate = 1e-3\n\
                    whole-word = true\n";
        let expected =
            ["--steps=6000", "--config=bert-small", "--learning-rate=1e-3", "--whole-word"];
        assert_eq!(words(text).unwrap(), expected);
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let message = |text| format!("{:#}", words(text).unwrap_err());
        assert_eq!(
            message("steps = 1\n\nstep = 2\n"),
            "r.toml:3: unknown key `step`: expected one of config, steps, learning-rate, whole-word"
        );
        assert_eq!(message("whole-word = 3\n"), "r.toml:1: `whole-word`: expected true or false");
        assert_eq!(message("\n[steps]\n"), "r.toml:2: `steps`: expected a string or a number");
        assert!(message("steps = 1\nsteps = 2\n").starts_with("r.toml:2: "));
    }

    #[test]
    fn the_command_line_has_the_last_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r.toml");
        std::fs::write(&path, "steps = 5\n").unwrap();
        let path = path.to_str().unwrap();
        let cli = Command::new("bert-trainer").subcommand(command());
        let expand = |words: &[&str]| {
            let words = words.iter().map(OsString::from).collect();
            expand(words, &cli)
                .unwrap()
                .into_iter()
                .map(|word| word.into_string().unwrap())
                .collect()
        };
        let found: Vec<String> = expand(&["b", "pretrain", "--recipe", path, "--steps", "7"]);
        assert_eq!(found, ["b", "pretrain", "--steps=5", "--recipe", path, "--steps", "7"]);
        let joined = format!("--recipe={path}");
        let found: Vec<String> = expand(&["b", "pretrain", &joined]);
        assert_eq!(found, ["b", "pretrain", "--steps=5", &joined]);
        let found: Vec<String> = expand(&["b", "eval", "--recipe", path]);
        assert_eq!(found, ["b", "eval", "--recipe", path]);
    }
}
